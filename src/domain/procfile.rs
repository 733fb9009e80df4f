//! The Procfile (`builds.md` section 5).

use crate::{limits::PROCFILE_BYTES_MAX, names::is_process_type};
use std::collections::BTreeMap;

/// Type to command, the command text unchanged.
pub type ProcessTypes = BTreeMap<String, String>;

/// Reads a Procfile. Blank lines and `#` lines are ignored, CRLF and a byte order mark tolerated; the last of two equal
/// names wins. The command is kept as it is written: nothing is expanded.
///
/// # Errors
/// The text for the user, naming the line.
pub fn parse(bytes: &[u8]) -> Result<ProcessTypes, String> {
    if bytes.len() > PROCFILE_BYTES_MAX {
        return Err(format!("Procfile is larger than {PROCFILE_BYTES_MAX} bytes."));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "Procfile is not UTF-8 text.".to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut types = ProcessTypes::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r').trim_end();
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let bad = |why: &str| format!("Procfile line {}: {why}", index + 1);
        let (name, command) = line.split_once(':').ok_or_else(|| bad("expected `type: command`."))?;
        if !is_process_type(name) {
            return Err(bad("a process type has letters, digits, - and _ only."));
        }
        let command = command.trim_start();
        if command.is_empty() {
            return Err(bad("the command is missing."));
        }
        if command.contains('\0') {
            return Err(bad("the command has a NUL character."));
        }
        types.insert(name.to_string(), command.to_string());
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let got = parse(text.as_bytes()).expect("valid");
        let want: ProcessTypes = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn commands_keep_their_quotes_and_variables() {
        check("web: bash -c \"echo $PORT && exec x\"\n", &[("web", "bash -c \"echo $PORT && exec x\"")]);
        check("web:run\r\n# c\r\n\r\nworker-2_a:  go : on\r\n", &[("web", "run"), ("worker-2_a", "go : on")]);
        check("\u{feff}web: a\nweb: b", &[("web", "b")]);
        check("", &[]);
    }

    #[test]
    fn nonsense_names_its_line() {
        assert!(parse(b"web: a\nnonsense\n").is_err_and(|e| e.contains("line 2")));
        assert!(parse(b"we b: a").is_err());
        assert!(parse(b"web:").is_err());
        assert!(parse(b"web: a\0b").is_err());
        assert!(parse(&[0xff, 0xfe]).is_err());
        assert!(parse(&vec![b'a'; PROCFILE_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_give_an_answer_and_valid_types(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(types) = parse(&bytes) {
                for (name, command) in types {
                    prop_assert!(is_process_type(&name));
                    prop_assert!(!command.is_empty() && !command.contains('\n'));
                }
            }
        }
    }
}
