//! The key by which clients know this server again. Made once; a new one would look like an attack to everybody.

use ring::rand::{SecureRandom, SystemRandom};
use russh::keys::{
    PrivateKey,
    ssh_key::{
        LineEnding,
        private::{Ed25519Keypair, KeypairData},
    },
};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Reads the key; makes an Ed25519 key when there is no file.
///
/// # Errors
/// When the file can not be read, is no key, or can not be written.
pub fn load_or_create(file: &Path) -> io::Result<PrivateKey> {
    let name = |e: &dyn std::fmt::Display| io::Error::other(format!("host key {}: {e}", file.display()));
    match fs::read_to_string(file) {
        Ok(text) => PrivateKey::from_openssh(text).map_err(|e| name(&e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(file).map_err(|e| name(&e)),
        Err(e) => Err(name(&e)),
    }
}

fn create(file: &Path) -> io::Result<PrivateKey> {
    let mut seed = [0u8; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("no randomness"))?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, "tidemill").map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    if let Some(dir) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let partial = file.with_extension("partial");
    let _ = fs::remove_file(&partial); // left by a start that was cut short
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&partial, file)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_for_the_owner_only_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ssh/host_ed25519");
        let made = load_or_create(&file).unwrap();
        assert_eq!(load_or_create(&file).unwrap().public_key(), made.public_key());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(&file, "nonsense").unwrap();
        assert!(load_or_create(&file).unwrap_err().to_string().contains("host_ed25519"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "nonsense");
    }
}
