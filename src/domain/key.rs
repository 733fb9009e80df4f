//! Public keys of accounts, for git over SSH (`git-contract.md` section 6).

use crate::{AccountId, KeyId, UnixMs};
use serde::{Deserialize, Serialize};

/// A public key; who holds its other half acts as the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// Key of the row.
    pub id: KeyId,
    /// Whose it is.
    pub account: AccountId,
    /// One line as in `authorized_keys`: kind, base64, comment.
    pub public_key: String,
    /// Last part of that line; may be empty.
    pub comment: String,
    /// SHA-256 of the key in the form of OpenSSH, `SHA256:…`. Unique, and what a key is found by.
    pub sha256: String,
    /// MD5 in pairs of digits with colons between, which is what the published schema shows. Never trusted.
    pub md5: String,
    /// Creation time.
    pub created_at: UnixMs,
}
