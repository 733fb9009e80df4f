//! Where the passphrase comes from.

use backup::{Error, Result};
use std::{fs, path::Path};

/// Shorter ones are guessed.
const CHARS_MIN: usize = 12;
const FLAG: &str = "--passphrase-file";

/// For a new backup: asked twice, and long enough.
pub fn new(file: Option<&Path>) -> Result<String> {
    let passphrase = match file {
        Some(file) => read(file)?,
        None => {
            let first = ask("Passphrase for this backup: ")?;
            if ask("Again: ")? != first {
                return Err(Error::Usage("the two are not the same; nothing was written".into()));
            }
            first
        }
    };
    if passphrase.chars().count() < CHARS_MIN {
        return Err(Error::Usage(format!("a passphrase must have at least {CHARS_MIN} characters; nothing was written")));
    }
    Ok(passphrase)
}

/// For one that is there.
pub fn known(file: Option<&Path>) -> Result<String> {
    file.map_or_else(|| ask("Passphrase of this backup: "), read)
}

fn ask(question: &str) -> Result<String> {
    cli::ask_secret(question, FLAG).map_err(|(text, _)| Error::Usage(text))
}

/// The first line.
pub fn read(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).map_err(|e| Error::Usage(format!("can not read {}: {e}", file.display())))?;
    Ok(text.lines().next().unwrap_or("").to_string())
}
