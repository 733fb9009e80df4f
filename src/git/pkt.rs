//! The little of git's packet format that is needed to refuse a push before git sees it.

/// Commands of a push, as they stand before the pack.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Preface {
    /// Names of the refs to be changed.
    pub refs: Vec<String>,
    /// The client's repository is shallow.
    pub shallow: bool,
    /// A pack follows: not all commands are deletions.
    pub has_pack: bool,
}

/// Reads the packets up to the first flush. `None`: more bytes are needed. `Some(Err)`: not git.
pub fn preface(mut bytes: &[u8]) -> Option<Result<Preface, ()>> {
    let mut preface = Preface::default();
    loop {
        let (header, rest) = bytes.split_first_chunk::<4>()?;
        let Some(length) = std::str::from_utf8(header).ok().and_then(|h| usize::from_str_radix(h, 16).ok()) else {
            return Some(Err(()));
        };
        if length == 0 {
            return Some(Ok(preface));
        }
        if length < 4 {
            return Some(Err(()));
        }
        let line = rest.get(..length - 4)?;
        bytes = &rest[length - 4..];
        let line = line.split(|b| *b == 0).next().unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        if text.starts_with("shallow ") {
            preface.shallow = true;
        } else if let [_, new, name] = text.trim_end().splitn(3, ' ').collect::<Vec<_>>()[..] {
            preface.refs.push(name.to_string());
            preface.has_pack |= new.bytes().any(|b| b != b'0');
        }
    }
}

/// One packet.
pub fn packet(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(format!("{:04x}", payload.len() + 4).as_bytes());
    out.extend_from_slice(payload);
}

/// A whole answer that refuses every ref: text on band 2, the report on band 1.
pub fn refusal(refs: &[String], text: &str, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    packet(&mut out, &[b"\x02", text.as_bytes()].concat());
    let mut report = Vec::new();
    packet(&mut report, b"unpack ok\n");
    for name in refs {
        packet(&mut report, format!("ng {name} {reason}\n").as_bytes());
    }
    report.extend_from_slice(b"0000");
    packet(&mut out, &[b"\x01", report.as_slice()].concat());
    out.extend_from_slice(b"0000");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_shallow_lines_are_found() {
        let mut bytes = Vec::new();
        packet(&mut bytes, b"shallow 1234");
        packet(&mut bytes, b"0000 1111 refs/heads/main\0report-status side-band-64k");
        packet(&mut bytes, b"0000 2222 refs/heads/a b\n");
        let partial = preface(&bytes);
        assert!(partial.is_none());
        bytes.extend_from_slice(b"0000PACK");
        let full = preface(&bytes).unwrap().unwrap();
        assert!(full.shallow && full.has_pack);
        assert_eq!(full.refs, ["refs/heads/main", "refs/heads/a b"]);
        assert_eq!(preface(b"GET / HTTP"), Some(Err(())));
        let mut deletion = Vec::new();
        packet(&mut deletion, b"1111 0000 refs/heads/old\0report-status");
        deletion.extend_from_slice(b"0000");
        assert!(!preface(&deletion).unwrap().unwrap().has_pack);
        assert_eq!(preface(b"0000"), Some(Ok(Preface::default())));
    }
}
