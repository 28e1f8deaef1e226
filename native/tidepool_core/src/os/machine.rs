//! What the machine has for this process, or the container that it is in.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// When the system does not say: little, but never too much.
const UNKNOWN_BYTES: u64 = 512 << 20;

/// What limits the memory of a group: of version 2 where the system kills and where it begins to slow down, and of version 1.
const MEMORY_FILES: [&str; 3] = ["memory.max", "memory.high", "memory.limit_in_bytes"];

/// What a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Cores, one at least. Of a part of a core that a control group gives on top there is no word here: it is left for what
    /// does not count its threads.
    pub cores: usize,
}

/// What this process and its kin may use: what the machine has, or the least that one of the control groups gives which the
/// process is in, one in the other. Of both versions of control groups; cores also as its affinity has it.
#[must_use]
pub fn share() -> Share {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let memory = within("memory", &groups, &mounts);
    let limits = memory.iter().flat_map(|group| MEMORY_FILES.iter().filter_map(|file| number(&group.join(file))));
    let cores = available_parallelism().map_or(1, usize::from);
    let quotas = within("cpu", &groups, &mounts).into_iter().filter_map(|group| whole_cores(&group));
    Share {
        memory_bytes: machine.into_iter().chain(limits).filter(|bytes| *bytes > 0).min().unwrap_or(UNKNOWN_BYTES),
        cores: quotas.chain([cores]).min().unwrap_or(1),
    }
}

/// The whole cores in the time that a group gets, one at least; `None` when it gets as much as there is.
fn whole_cores(group: &Path) -> Option<usize> {
    let (quota, period) = match fs::read_to_string(group.join("cpu.max")) {
        Ok(text) => quota(&text)?,
        Err(_) => (number(&group.join("cpu.cfs_quota_us"))?, number(&group.join("cpu.cfs_period_us"))?),
    };
    let cores: u64 = u64::checked_div(quota, period)?;
    usize::try_from(cores.max(1)).ok()
}

/// The quota and the period in the text of a `cpu.max`; its quota may be `max`, and its period left out.
fn quota(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse().ok()?;
    Some((quota, words.next().map_or(Some(100_000), |period| period.parse().ok())?))
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The number that is all of a file; `max` is none.
pub(crate) fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The folders of the groups in /proc/self/cgroup that may limit what `controller` counts, from a group to the outermost that
/// is mounted. Formats: cgroups(7) and proc_pid_mountinfo(5).
fn within(controller: &str, groups: &str, mounts: &str) -> Vec<PathBuf> {
    let has = |names: &str| names.split(',').any(|name| name == controller);
    let mut folders = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // One tree for all controllers has version 2; of version 1 each mount names those of its tree.
        let one_tree = controllers.is_empty();
        if !one_tree && !has(controllers) {
            continue;
        }
        let mounts = mounts.lines().filter_map(mounted);
        for mount in
            mounts.filter(|it| if one_tree { it.kind == "cgroup2" } else { it.kind == "cgroup" && has(it.options) })
        {
            // What is mounted in a container may begin at its own group.
            let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
            let group = Path::new(mount.at).join(below);
            folders.extend(group.ancestors().take_while(|it| it.starts_with(mount.at)).map(Path::to_path_buf));
        }
    }
    folders
}

/// A line of /proc/self/mountinfo.
struct Mount<'a> {
    /// The folder of the file system that is mounted: of control groups the group that is seen as the outermost.
    root: &'a str,
    at: &'a str,
    kind: &'a str,
    options: &'a str,
}

fn mounted(line: &str) -> Option<Mount<'_>> {
    let (place, system) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut system = system.split(' ');
    Some(Mount {
        root: place.next()?,
        at: place.next()?,
        kind: system.next()?,
        options: system.nth(1).unwrap_or_default(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn folders(controller: &str, groups: &str, mounts: &str) -> Vec<String> {
        // Without the slash that an empty path leaves at the end.
        within(controller, groups, mounts)
            .iter()
            .map(|path| path.components().as_path().display().to_string())
            .collect()
    }

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:       24632900 kB\nMemFree: 1 kB\n"), Some(24_632_900 << 10));
        assert_eq!(total_memory("nothing of the kind"), None);
        assert!(share().memory_bytes > 64 << 20);
    }

    #[test]
    fn a_process_has_one_core_at_least_and_no_more_than_it_may_run_on() {
        assert!((1..=available_parallelism().unwrap().get()).contains(&share().cores));
    }

    #[test]
    fn every_group_around_the_process_is_asked() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        for controller in ["memory", "cpu"] {
            let expected = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
            assert_eq!(folders(controller, "0::/a/b\n", mounts), expected);
            assert_eq!(folders(controller, "0::/\n", mounts), ["/sys/fs/cgroup"]);
        }
    }

    #[test]
    fn of_version_1_the_tree_of_the_controller_is_asked_and_no_other() {
        let mounts = "41 40 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      42 40 0:34 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      43 40 0:35 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
        let groups = "9:memory:/m\n8:cpu,cpuacct:/c\n7:cpuset:/s\n";
        assert_eq!(folders("memory", groups, mounts), ["/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/memory"]);
        assert_eq!(folders("cpu", groups, mounts), ["/sys/fs/cgroup/cpu,cpuacct/c", "/sys/fs/cgroup/cpu,cpuacct"]);
    }

    #[test]
    fn a_mount_that_begins_at_the_containers_own_group_is_understood() {
        let mounts = "41 40 0:33 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      42 40 0:34 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let groups = "9:memory:/docker/4f/inner\n8:cpu:/docker/4f\n";
        assert_eq!(folders("memory", groups, mounts), ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"]);
        assert_eq!(folders("cpu", groups, mounts), ["/sys/fs/cgroup/cpu"]);
        // The group that the host knows it by, of which the container sees nothing.
        assert_eq!(folders("memory", "9:memory:/elsewhere\n", mounts), ["/sys/fs/cgroup/memory"]);
    }

    #[test]
    fn lines_of_another_kind_are_no_groups() {
        let mounts = "x\n1 2 - cgroup2\n36 1 8:1 / / rw - ext4 /dev/sda rw\n";
        assert_eq!(folders("memory", "0\n:\n1:name=systemd:/\n0::/\n", mounts), [""; 0]);
    }

    #[test]
    fn a_quota_counts_in_whole_cores_and_as_one_core_at_least() {
        let group = |name: &str, files: &[(&str, &str)]| {
            let folder = std::env::temp_dir().join(format!("tidepool-quota-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
            let cores = whole_cores(&folder);
            fs::remove_dir_all(&folder).unwrap();
            cores
        };
        assert_eq!(group("two", &[("cpu.max", "200000 100000\n")]), Some(2));
        assert_eq!(group("one-and-a-half", &[("cpu.max", "150000 100000\n")]), Some(1));
        assert_eq!(group("a-tenth", &[("cpu.max", "10000 100000\n")]), Some(1));
        assert_eq!(group("no-period", &[("cpu.max", "300000\n")]), Some(3));
        assert_eq!(group("all", &[("cpu.max", "max 100000\n")]), None);
        assert_eq!(group("period-0", &[("cpu.max", "100000 0\n")]), None);
        assert_eq!(group("nothing", &[]), None);
        let version_1 = |quota| group("version-1", &[("cpu.cfs_quota_us", quota), ("cpu.cfs_period_us", "50000\n")]);
        assert_eq!(version_1("100000\n"), Some(2));
        assert_eq!(version_1("-1\n"), None);
    }
}
