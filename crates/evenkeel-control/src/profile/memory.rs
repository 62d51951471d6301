//! Memory by mapping, and the threads, as the kernel tells them.

use super::message::{Function, Heading, Message};
use std::collections::BTreeMap;
use std::fs;
use std::io;

const BYTES_PER_KIB: i64 = 1024;

/// Resident memory of this process by what is mapped there.
pub(super) fn by_mapping() -> io::Result<Vec<u8>> {
    Ok(encode(&sums(&fs::read_to_string("/proc/self/smaps")?)))
}

/// Mappings and bytes, by name.
fn sums(smaps: &str) -> BTreeMap<&str, (i64, i64)> {
    let mut sums = BTreeMap::<&str, (i64, i64)>::new();
    let mut name = "";
    for line in smaps.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if first.contains('-') && !first.ends_with(':') {
            // 55e0c0a00000-55e0c0b00000 r-xp 00000000 08:01 123   /path
            name = line.splitn(6, ' ').nth(5).map_or("", str::trim);
            if name.is_empty() {
                name = "[anonymous]";
            }
        } else if first == "Rss:" {
            let kib = line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<i64>().ok());
            let sum = sums.entry(name).or_default();
            sum.0 += 1;
            sum.1 = sum.1.saturating_add(kib.unwrap_or(0).saturating_mul(BYTES_PER_KIB));
        }
    }
    sums
}

fn encode(sums: &BTreeMap<&str, (i64, i64)>) -> Vec<u8> {
    let function = |name: &str| Function { name: name.to_owned(), ..Function::default() };
    let mut message = Message::new();
    for (name, (count, size)) in sums {
        let group = match *name {
            "[heap]" | "[anonymous]" => "allocated",
            name if name.starts_with("[stack") => "stacks",
            _ => "mapped files",
        };
        let stack = [vec![function(name)], vec![function(group)]];
        message.sample(&stack, &[*count, *size], "");
    }
    message.finish(&Heading {
        values: vec![("mappings", "count"), ("resident", "bytes")],
        default_value: "resident",
        period: (("space", "bytes"), 1),
        time: (0, 0),
        comment: "resident memory by mapping, as the kernel tells it",
    })
}

/// Every thread with its state and its CPU time, one a line.
pub(super) fn threads() -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let folder = entry?.path();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let (stat, place) = (read("stat"), read("wchan"));
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!("thread {id} {}\n", thread(&stat, &place)));
    }
    lines.sort();
    Ok(format!("{} threads\n\n{}", lines.len(), lines.concat()))
}

/// Name, state, where it waits in the kernel, and its CPU time in ticks.
fn thread(stat: &str, place: &str) -> String {
    // 1234 (a name) S 1 2 …: the name may hold anything but the last parenthesis.
    let (name, rest) = stat.rsplit_once(')').unwrap_or(("", ""));
    let name = name.split_once('(').map_or("", |(_, name)| name);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or("?");
    let place = if place.is_empty() || place == "0" { "-" } else { place };
    format!("[{name}] state {} in {place}, ticks user {} system {}", field(0), field(11), field(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_add_up_by_name() {
        let smaps = "\
            55e0-55e1 r-xp 00000000 08:01 123                /opt/a b\nSize: 8 kB\nRss: 4 kB\n\
            55e1-55e2 rw-p 00000000 08:01 123                /opt/a b\nSize: 8 kB\nRss: 8 kB\n\
            55e2-55e3 rw-p 00000000 00:00 0 \nSize: 100 kB\nRss: 1 kB\n\
            55e3-55e4 rw-p 00000000 00:00 0                  [heap]\nSize: 50 kB\nRss: 50 kB\n";
        let resident = sums(smaps);
        let wanted = [("/opt/a b", (2, 12 * 1024)), ("[anonymous]", (1, 1024))];
        let wanted = wanted.into_iter().chain([("[heap]", (1, 50 * 1024))]);
        assert_eq!(resident, wanted.collect());
    }

    #[test]
    fn a_thread_in_a_line() {
        let stat = "77 (ek (x) 0) S 1 2 3 4 5 6 7 8 9 10 21 22 13";
        let wanted = "[ek (x) 0] state S in ep_poll, ticks user 21 system 22";
        assert_eq!(thread(stat, "ep_poll"), wanted);
        assert!(threads().expect("our own").contains("state "));
    }
}
