// The program: what a script says, done in a bucket.

struct Program {
    bucket: Option<u32>,
    cursor: Option<own::Cursor>,
    cas: Option<u32>,
}

fn run(script: &str) -> String {
    let mut program = Program { bucket: None, cursor: None, cas: None };
    let lines: Vec<String> = script.lines().map(|line| program.line(line)).collect();
    if let Some(bucket) = program.bucket {
        unsafe { host::drop(bucket) };
    }
    lines.join("\n")
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("none".to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A list that the host has written, of elements of so many bytes.
fn words(list: Slice, size: usize) -> Vec<Vec<u32>> {
    let at = |index: usize, word: usize| unsafe { *(list.at as *const u32).add(index * size / 4 + word) };
    (0..list.len).map(|index| (0..size / 4).map(|word| at(index, word)).collect()).collect()
}

fn slice(at: u32, len: u32) -> Slice {
    Slice { at: at as *const u8, len: len as usize }
}

impl Program {
    fn line(&mut self, line: &str) -> String {
        let mut words = line.splitn(2, ' ');
        let (name, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        self.done(name, rest).unwrap_or_else(|error| format!("error {error}"))
    }

    fn done(&mut self, name: &str, rest: &str) -> Result<String, String> {
        let mut out = Written::new();
        if name == "open" {
            unsafe { host::open(rest.as_ptr(), rest.len(), &mut out) };
            out.checked(1)?;
            if let Some(before) = self.bucket.replace(out.0[1]) {
                unsafe { host::drop(before) };
            }
            return Ok("ok".to_string());
        }
        let bucket = self.bucket.ok_or("no bucket is open")?;
        let (key, value) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "get" => {
                unsafe { host::get(bucket, key.as_ptr(), key.len(), &mut out) };
                out.checked(1)?;
                Ok(shown((out.byte(1) == 1).then(|| out.slice(2).taken())))
            }
            "set" => set(bucket, key, value.as_bytes()),
            "fill" => set(bucket, key, &vec![b'x'; value.parse().unwrap()]),
            "delete" => {
                unsafe { host::delete(bucket, key.as_ptr(), key.len(), &mut out) };
                out.checked(1).map(|()| "ok".to_string())
            }
            "exists" => {
                unsafe { host::exists(bucket, key.as_ptr(), key.len(), &mut out) };
                out.checked(1)?;
                Ok((out.byte(1) == 1).to_string())
            }
            "add" => {
                unsafe { host::increment(bucket, key.as_ptr(), key.len(), value.parse().unwrap(), &mut out) };
                out.checked(2)?;
                Ok((out.long(2) as i64).to_string())
            }
            "list" => {
                let (mut all, mut cursor, mut pages) = (Vec::new(), None, 0);
                loop {
                    let (keys, next) = page(bucket, cursor)?;
                    all.extend(keys);
                    pages += 1;
                    cursor = next;
                    if cursor.is_none() {
                        return Ok(format!("{pages} {}", all.join(" ")));
                    }
                }
            }
            "page" | "next" => {
                let cursor = self.cursor.take().filter(|_cursor| name == "next");
                let (keys, next) = page(bucket, cursor)?;
                let more = next.is_some();
                self.cursor = next;
                Ok(format!("{} {more}", keys.len()))
            }
            "see" => {
                let (cas, seen) = own::see(bucket, key)?;
                self.cas = Some(cas);
                Ok(shown(seen))
            }
            "swap" => {
                let cas = self.cas.take().ok_or("nothing was seen")?;
                match own::swap(cas, rest.as_bytes())? {
                    None => Ok("ok".to_string()),
                    Some((cas, seen)) => {
                        self.cas = Some(cas);
                        Ok(format!("changed {}", shown(seen)))
                    }
                }
            }
            "handles" => {
                for _ in 0..rest.parse().unwrap() {
                    own::see(bucket, "handles")?;
                }
                Ok("ok".to_string())
            }
            _ => many(bucket, name, rest),
        }
    }
}

fn set(bucket: u32, key: &str, value: &[u8]) -> Result<String, String> {
    let mut out = Written::new();
    unsafe { host::set(bucket, key.as_ptr(), key.len(), value.as_ptr(), value.len(), &mut out) };
    out.checked(1).map(|()| "ok".to_string())
}

fn page(bucket: u32, cursor: Option<own::Cursor>) -> Result<(Vec<String>, Option<own::Cursor>), String> {
    let (keys, cursor) = own::list(bucket, cursor)?;
    Ok((words(keys, 8).into_iter().map(|key| slice(key[0], key[1]).text()).collect(), cursor))
}

fn many(bucket: u32, name: &str, rest: &str) -> Result<String, String> {
    let mut out = Written::new();
    let given: Vec<&str> = rest.split_whitespace().collect();
    let keys: Vec<Slice> = given.iter().map(|key| Slice::of(key.as_bytes())).collect();
    match name {
        "gets" => {
            unsafe { host::get_many(bucket, keys.as_ptr() as *const u8, keys.len(), &mut out) };
            out.checked(1)?;
            let value = |found: Vec<u32>| (found[0] & 0xff == 1).then(|| slice(found[3], found[4]).taken());
            let values: Vec<String> = words(out.slice(1), 20).into_iter().map(|found| shown(value(found))).collect();
            Ok(values.join(" "))
        }
        "sets" => {
            let pairs: Vec<[Slice; 2]> = given
                .iter()
                .map(|pair| pair.split_at(pair.find('=').unwrap()))
                .map(|(key, value)| [Slice::of(key.as_bytes()), Slice::of(value[1..].as_bytes())])
                .collect();
            unsafe { host::set_many(bucket, pairs.as_ptr() as *const u8, pairs.len(), &mut out) };
            out.checked(1).map(|()| "ok".to_string())
        }
        "deletes" => {
            unsafe { host::delete_many(bucket, keys.as_ptr() as *const u8, keys.len(), &mut out) };
            out.checked(1).map(|()| "ok".to_string())
        }
        _ => Err(format!("{name} is no command")),
    }
}
