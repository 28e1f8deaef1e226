//! What the machine has for this process, or the container that it is in.

use std::fs;
use std::path::{Path, PathBuf};

/// When the system does not say: little, but never too much.
const UNKNOWN_BYTES: u64 = 512 << 20;

/// The memory that this process and its children may use, in bytes: the machine's, or the smallest limit of the nested control
/// groups that the process is in. Reads both versions of control groups.
#[must_use]
pub fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let limits = limits(&groups, &mounts);
    machine
        .into_iter()
        .chain(limits.iter().filter_map(|path| number(path)))
        .filter(|bytes| *bytes > 0)
        .min()
        .unwrap_or(UNKNOWN_BYTES)
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

/// The files that limit the memory of the groups in /proc/self/cgroup, from a group to the outermost that is mounted.
/// Formats: cgroups(7) and proc_pid_mountinfo(5).
fn limits(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut limits = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.max"),
            it if it.split(',').any(|it| it == "memory") => ("cgroup", "memory.limit_in_bytes"),
            _ => continue,
        };
        for (root, at) in mounts.lines().filter_map(|mount| mounted(mount, kind)) {
            // What is mounted in a container may begin at its own group.
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            let group = Path::new(at).join(below);
            limits.extend(group.ancestors().take_while(|it| it.starts_with(at)).map(|it| it.join(file)));
        }
    }
    limits
}

/// Which group a mount of control groups begins at, and where it is; of those of version 1 the one that has the memory's.
fn mounted<'a>(mount: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let (place, system) = mount.split_once(" - ")?;
    let mut system = system.split(' ');
    let is_kind = system.next() == Some(kind);
    let options = system.nth(1).unwrap_or_default();
    let mut place = place.split(' ').skip(3);
    let (root, at) = (place.next()?, place.next()?);
    (is_kind && (kind == "cgroup2" || options.split(',').any(|it| it == "memory"))).then_some((root, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(groups: &str, mounts: &str) -> Vec<String> {
        limits(groups, mounts).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_machines_memory_is_read_from_meminfo() {
        assert_eq!(total_memory("MemTotal:       24632900 kB\nMemFree: 1 kB\n"), Some(24_632_900 << 10));
        assert_eq!(total_memory("nothing of the kind"), None);
        assert!(memory_bytes() > 64 << 20);
    }

    #[test]
    fn every_group_around_the_process_is_asked() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let expected = ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"];
        assert_eq!(paths("0::/a/b\n", mounts), expected);
        assert_eq!(paths("0::/\n", mounts), ["/sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn a_mount_that_begins_at_the_containers_own_group_is_understood() {
        let mounts = "41 40 0:33 /docker/4f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      42 40 0:34 /docker/4f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
        let groups = "9:memory:/docker/4f/inner\n8:cpu:/docker/4f\n";
        let expected = ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"];
        assert_eq!(paths(groups, mounts), expected.map(|group| format!("{group}/memory.limit_in_bytes")));
        // The group that the host knows it by, of which the container sees nothing.
        assert_eq!(paths("9:memory:/elsewhere\n", mounts), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }

    #[test]
    fn lines_of_another_kind_are_no_groups() {
        assert_eq!(
            paths("0\n:\n1:name=systemd:/\n", "x\n1 2 - cgroup2\n36 1 8:1 / / rw - ext4 /dev/sda rw\n"),
            [""; 0]
        );
    }
}
