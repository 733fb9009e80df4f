//! Public keys of accounts, and who comes with one (`git-contract.md` section 6).

use crate::{Action, Ctx, Error, On, Result, Service, access};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use domain::{
    AccountId, EventBody, KeyId, SshKey,
    limits::{KEYS_PER_ACCOUNT_MAX, PUBLIC_KEY_BYTES_MAX},
};
use ring::digest::{SHA256, digest};
use ssh_key::{PublicKey, public::KeyData};
use store::{ReadRows, tables};
use uuid::Uuid;

/// Shorter RSA keys are not taken.
const RSA_BITS_MIN: u32 = 2048;
/// Longer ones cost more to check than they are worth.
const RSA_BITS_MAX: u32 = 16_384;

/// As OpenSSH shows it.
fn sha256(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, blob)))
}

/// As the published schema shows it. Two keys may be made to have the same, so nothing is decided by it.
fn md5(blob: &[u8]) -> String {
    let pairs: Vec<String> = md5::compute(blob).iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// A key that can be used, from one line of text.
fn parse(account: AccountId, text: &str) -> Result<SshKey> {
    let text = text.trim();
    let bad = |why: &str| Error::invalid(format!("This is no public key that can be used: {why}."));
    if text.contains("PRIVATE KEY") {
        return Err(bad("it is a private key. Keep that to yourself, and send the file that ends in .pub"));
    }
    if text.is_empty() || text.len() > PUBLIC_KEY_BYTES_MAX || text.lines().count() != 1 {
        return Err(bad(&format!(
            "send one line of at most {PUBLIC_KEY_BYTES_MAX} bytes, such as `ssh-ed25519 AAAA… comment`"
        )));
    }
    // The comment may hold anything; a table of keys is shown in terminals.
    if text.chars().any(char::is_control) {
        return Err(bad("it has control characters"));
    }
    let key = PublicKey::from_openssh(text)
        .map_err(|_| bad("it must be a line `KIND BASE64 COMMENT` as in a .pub file, without options before it"))?;
    match key.key_data() {
        KeyData::Rsa(rsa) if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&rsa.key_size()) => {
            let bits = rsa.key_size();
            return Err(bad(&format!("an RSA key must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, this has {bits}")));
        }
        KeyData::Rsa(_) | KeyData::Ecdsa(_) | KeyData::Ed25519(_) => {}
        KeyData::SkEcdsaSha2NistP256(_) | KeyData::SkEd25519(_) => {}
        KeyData::Certificate(_) => return Err(bad("certificates are not taken, only plain keys")),
        _ => return Err(bad("only RSA, ECDSA and Ed25519 keys are taken, and those of security keys (sk-)")),
    }
    let blob = key.to_bytes().map_err(|e| bad(&e.to_string()))?;
    Ok(SshKey {
        id: Uuid::new_v4().into(),
        account,
        public_key: text.into(),
        comment: key.comment().as_str_lossy().trim().into(),
        sha256: sha256(&blob),
        md5: md5(&blob),
        created_at: domain::UnixMs(0),
    })
}

impl Service {
    /// The account that asks, if it may; the platform has no keys.
    fn key_owner(&self, ctx: &Ctx, action: Action) -> Result<AccountId> {
        access::check(self.store(), ctx, action, On::Platform)?;
        ctx.account().ok_or_else(Error::unauthorized)
    }

    /// Keys of the own account, oldest first.
    ///
    /// # Errors
    /// `unauthorized`.
    pub fn keys(&self, ctx: &Ctx) -> Result<Vec<SshKey>> {
        let account = self.key_owner(ctx, Action::Account)?;
        let mut rows = self.store().scan(&tables::SSH_KEYS, &())?;
        rows.retain(|key| key.account == account);
        rows.sort_by_key(|key| (key.created_at, key.id));
        Ok(rows)
    }

    /// A key of the own account by id or by one of its fingerprints.
    ///
    /// # Errors
    /// `unauthorized`, `not_found`.
    pub fn key(&self, ctx: &Ctx, wanted: &str) -> Result<SshKey> {
        let is_it = |key: &SshKey| key.id.to_string() == wanted || key.sha256 == wanted || key.md5 == wanted;
        let found = self.keys(ctx)?.into_iter().find(is_it);
        found.ok_or_else(|| Error::not_found("key", "Couldn't find that key."))
    }

    /// Adds a key to the own account.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden`; `invalid_params` for a key that is none, too weak, used already, or one too many.
    pub async fn add_key(&self, ctx: &Ctx, public_key: &str) -> Result<SshKey> {
        let account = self.key_owner(ctx, Action::ManageAccount)?;
        let row = SshKey { created_at: ctx.now, ..parse(account, public_key)? };
        let (ctx, added) = (ctx.clone(), row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                if let Some(id) = tx.get(&tables::KEY_BY_FINGERPRINT, &row.sha256)? {
                    let own = tx.get(&tables::SSH_KEYS, &id)?.is_some_and(|other| other.account == account);
                    let whose = if own { "your account has it" } else { "another account has it" };
                    return Err(Error::invalid(format!("This key is in use already: {whose}. A key names one account.")));
                }
                let count = tx.scan(&tables::SSH_KEYS, &())?.iter().filter(|key| key.account == account).count();
                if count >= KEYS_PER_ACCOUNT_MAX {
                    return Err(Error::invalid(format!(
                        "An account can have {KEYS_PER_ACCOUNT_MAX} keys; remove one that is not used any more."
                    )));
                }
                tx.put(&tables::SSH_KEYS, &row.id, &row)?;
                tx.put(&tables::KEY_BY_FINGERPRINT, &row.sha256, &row.id)?;
                let body = EventBody::KeyAdded { fingerprint: row.sha256.clone() };
                tx.event(ctx.now, None, ctx.origin(), body)?;
                Ok(())
            })
            .await?;
        Ok(added)
    }

    /// Removes a key of the own account; nobody is admitted by it from then on.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden`, `not_found`.
    pub async fn remove_key(&self, ctx: &Ctx, wanted: &str) -> Result<SshKey> {
        self.key_owner(ctx, Action::ManageAccount)?;
        let row = self.key(ctx, wanted)?;
        let (ctx, gone) = (ctx.clone(), row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::SSH_KEYS, &gone.id);
                tx.delete(&tables::KEY_BY_FINGERPRINT, &gone.sha256);
                let body = EventBody::KeyRemoved { fingerprint: gone.sha256.clone() };
                tx.event(ctx.now, None, ctx.origin(), body)?;
                Ok(())
            })
            .await?;
        Ok(row)
    }

    /// The context of somebody who has proven to hold the other half of a public key (`blob`: its binary form on the
    /// wire).
    ///
    /// # Errors
    /// `unauthorized` when no account has this key.
    pub fn authenticate_key(&self, blob: &[u8]) -> Result<Ctx> {
        let now = self.parts().clock.now();
        let id: KeyId = self.store().get(&tables::KEY_BY_FINGERPRINT, &sha256(blob))?.ok_or_else(Error::unauthorized)?;
        let key = self.store().get(&tables::SSH_KEYS, &id)?.ok_or_else(Error::unauthorized)?;
        let account = self.store().get(&tables::ACCOUNTS, &key.account)?.ok_or_else(Error::unauthorized)?;
        Ok(Ctx::of(account, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn parsed(text: &str) -> Result<SshKey> {
        parse(Uuid::nil().into(), text)
    }

    #[test]
    fn a_line_of_a_pub_file_is_taken_with_its_comment_and_fingerprints() {
        let key = parsed(&format!("{ED25519} ana's key, 2026\n")).unwrap();
        assert_eq!(key.comment, "ana's key, 2026");
        assert_eq!(key.public_key, format!("{ED25519} ana's key, 2026"));
        // As `ssh-keygen -l` says.
        assert_eq!(key.sha256, "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE");
        assert_eq!(key.md5, "46:5d:0f:4b:7b:74:b6:5f:ce:80:b0:33:70:9e:33:96");
        assert_eq!(parsed(ED25519).unwrap().sha256, key.sha256, "the comment is no part of the key");
        assert_eq!(parsed(ED25519).unwrap().comment, "");
    }

    #[test]
    fn keys_of_security_keys_are_taken() {
        for (kind, base64) in [
            (
                "sk-ssh-ed25519@openssh.com",
                "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1EaAAAABHNzaDo=",
            ),
            (
                "sk-ecdsa-sha2-nistp256@openssh.com",
                concat!(
                    "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPSh",
                    "OUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfUAAAAEc3NoOg==",
                ),
            ),
        ] {
            assert_eq!(parsed(&format!("{kind} {base64} token")).unwrap().comment, "token", "{kind}");
        }
    }

    #[test]
    fn what_is_no_usable_key_is_refused_with_the_reason() {
        let refused = |text: &str| parsed(text).unwrap_err().public;
        assert!(refused("-----BEGIN OPENSSH PRIVATE KEY-----\nabc").contains("private key"));
        assert!(refused("").contains("one line"));
        assert!(refused(&format!("{ED25519}\n{ED25519}")).contains("one line"));
        assert!(refused(&format!("{ED25519} {}", "x".repeat(9000))).contains("one line"));
        assert!(refused(&format!("{ED25519} \u{1b}[31m")).contains("control"));
        assert!(refused(&format!("command=\"sh\" {ED25519}")).contains("without options"));
        assert!(refused(&ED25519.replace("ssh-ed25519 ", "ssh-rsa ")).contains("KIND BASE64"));
        assert!(refused("ssh-ed25519 AAAA").contains("KIND BASE64"));
    }
}
