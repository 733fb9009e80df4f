//! What an SSH client may ask for: one of two programs of git with a repository. Nothing of it reaches a shell.

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A push to this repository.
    Receive(String),
    /// A fetch or clone.
    Upload(String),
}

/// Reads `git-receive-pack '/NAME.git'` and its kin. `None` for anything else.
pub fn parse(bytes: &[u8]) -> Option<Command> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let rest = text.strip_prefix("git-").or_else(|| text.strip_prefix("git "))?;
    let (verb, argument) = rest.split_once(' ')?;
    let path = unquote(argument.trim())?;
    let repo = path.strip_prefix('/').unwrap_or(&path).trim_end_matches('/').to_string();
    match verb {
        "receive-pack" => Some(Command::Receive(repo)),
        "upload-pack" => Some(Command::Upload(repo)),
        _ => None,
    }
}

/// The one word that git quotes as for a shell: in single quotes, with `\'` and `\!` outside of them. Double quotes and
/// none are taken too, when a shell would see one plain word.
fn unquote(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~".contains(c);
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if !inner.is_empty() && inner.chars().all(plain) {
        return Some(inner.to_string());
    }
    let mut word = String::new();
    let mut rest = text.chars();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match (c, quoted) {
            ('\'', _) => quoted = !quoted,
            (c, true) => word.push(c),
            ('\\', false) => word.push(rest.next().filter(|c| "'!".contains(*c))?),
            (_, false) => return None,
        }
    }
    (!quoted && !word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_git_sends_are_understood() {
        let receive = |text: &str| assert_eq!(parse(text.as_bytes()), Some(Command::Receive("shop.git".into())), "{text}");
        receive("git-receive-pack '/shop.git'");
        receive("git-receive-pack 'shop.git'");
        receive("git receive-pack '/shop.git'");
        receive("git-receive-pack /shop.git");
        receive("git-receive-pack \"/shop.git\"");
        receive("git-receive-pack  '/shop.git/' ");
        assert_eq!(parse(b"git-upload-pack 'shop'"), Some(Command::Upload("shop".into())));
        assert_eq!(parse(br"git-upload-pack 'it'\''s'\!''"), Some(Command::Upload("it's!".into())));
    }

    #[test]
    fn everything_else_is_not() {
        for bad in [
            "",
            "ls",
            "git",
            "git-receive-pack",
            "git-receive-pack ",
            "git-receive-pack ''",
            "git-receive-pack 'a",
            "git-receive-pack 'a' 'b'",
            "git-receive-pack 'a'; id",
            "git-receive-pack $(id)",
            "git-receive-pack --help x",
            "git-receive-pack \"$(id)\"",
            r"git-receive-pack 'a'\n",
            "git-shell -c x",
            "git-upload-archive 'a'",
            "git-lfs-authenticate a upload",
            "scp -t /tmp",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"git-receive-pack '\xff'"), None);
    }
}
