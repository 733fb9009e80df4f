//! Secrets at rest: AES-256-GCM under a key that lives in a file of its own, never in the store.

use crate::{StoreError, tables::SealedChunk};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Sealed bytes are kept in pieces of this size, so that values stay small (`stack.md`, sled).
const CHUNK_BYTES: usize = 8 * 1024;
const KEY_BYTES: usize = 32;

/// Seals and opens.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// Reads the key file, or makes one (0600) when it is missing.
    ///
    /// # Errors
    /// When the file can not be read or made, has another size, or may be read by others.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        let io = |e| StoreError::io("read", path, e);
        let random = SystemRandom::new();
        if !path.exists() {
            let mut key = [0u8; KEY_BYTES];
            random.fill(&mut key).map_err(|_| StoreError::Unavailable("no randomness".into()))?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
            file.write_all(&key).and_then(|()| file.sync_all()).map_err(io)?;
        }
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(StoreError::Unavailable(format!("{} may be read by others; run: chmod 600 {0}", path.display())));
        }
        let bytes = fs::read(path).map_err(io)?;
        Self::of(&bytes).map_err(|_| StoreError::Corrupt(format!("{} is no key of {KEY_BYTES} bytes", path.display())))
    }

    /// With a key that is not in a file.
    ///
    /// # Errors
    /// When it has another size.
    pub fn of(key: &[u8]) -> Result<Self, StoreError> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| StoreError::Corrupt(format!("this is no key of {KEY_BYTES} bytes")))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `plain` for the place named by `context`; sealed bytes moved elsewhere do not open.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<SealedChunk>, StoreError> {
        let mut nonce = [0u8; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| StoreError::Unavailable("no randomness".into()))?;
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| StoreError::Unavailable("sealing failed".into()))?;
        let mut all = nonce.to_vec();
        all.append(&mut sealed);
        Ok(all.chunks(CHUNK_BYTES).map(|piece| SealedChunk(STANDARD.encode(piece))).collect())
    }

    /// Opens what [`Sealer::seal`] made with the same context.
    ///
    /// # Errors
    /// When the bytes were changed, or sealed with another key or for another place.
    pub fn open(&self, context: &[u8], chunks: &[SealedChunk]) -> Result<Vec<u8>, StoreError> {
        let wrong = || StoreError::Corrupt("sealed value does not open; is the key file the right one?".into());
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(STANDARD.decode(&chunk.0).map_err(|_| wrong())?);
        }
        let (nonce, sealed) = all.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(context), &mut sealed).map_err(|_| wrong())?;
        Ok(plain.to_vec())
    }
}
