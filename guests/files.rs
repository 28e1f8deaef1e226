// What a program does with files, by the standard library, and says of it: for guests that include it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

fn said(args: &[&str]) -> String {
    match done(args) {
        Ok(text) => format!("ok {text}"),
        Err(error) => format!("failed {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn done(args: &[&str]) -> io::Result<String> {
    match args {
        ["read", path] => fs::read_to_string(path),
        ["size", path] => fs::metadata(path).map(|known| known.len().to_string()),
        ["write", path, text] => fs::write(path, text).map(|()| String::new()),
        ["append", path, text] => {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(text.as_bytes())?;
            file.stream_position().map(|at| at.to_string())
        }
        ["list", path] => {
            let entry = |entry: io::Result<fs::DirEntry>| {
                let entry = entry?;
                let mark = if entry.file_type()?.is_dir() { "/" } else { "" };
                Ok(format!("{}{mark}", entry.file_name().to_string_lossy()))
            };
            let mut all = fs::read_dir(path)?.map(entry).collect::<io::Result<Vec<_>>>()?;
            all.sort();
            Ok(all.join(" "))
        }
        ["make", path] => fs::create_dir_all(path).map(|()| String::new()),
        ["remove", path] => fs::remove_file(path).map(|()| String::new()),
        ["remove-all", path] => fs::remove_dir_all(path).map(|()| String::new()),
        ["rename", from, to] => fs::rename(from, to).map(|()| String::new()),
        ["copy", from, to] => {
            // Piece by piece: the standard library's own does no more.
            io::copy(&mut File::open(from)?, &mut File::create(to)?).map(|count| count.to_string())
        }
        ["large", path, size] => {
            let size: usize = size.parse().expect("a number");
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            fs::write(path, &bytes)?;
            Ok((fs::read(path)? == bytes).to_string())
        }
        ["edit", path] => {
            let mut file = OpenOptions::new().read(true).write(true).create(true).open(path)?;
            file.write_all(b"low tide")?;
            file.seek(SeekFrom::Start(4))?;
            file.write_all(b"T")?;
            file.set_len(6)?;
            file.sync_all()?;
            file.rewind()?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        }
        ["many", folder, count] => {
            for number in 0..count.parse::<u32>().expect("a number") {
                fs::write(format!("{folder}/{number}"), "")?;
            }
            Ok(fs::read_dir(folder)?.count().to_string())
        }
        other => Ok(format!("nothing of {other:?}")),
    }
}
