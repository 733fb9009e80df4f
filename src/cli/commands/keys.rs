//! SSH keys of the account.

use super::prelude::*;
use crate::output::{ask, can_ask};
use std::path::PathBuf;

/// `keys`.
pub const TOPIC: Topic = Topic {
    name: "keys",
    about: "SSH keys of your account",
    verbs: &[
        there("keys", "List keys", list).aliases(&["keys:list"]).args(&[switch("long", "The keys whole").short('l')]),
        there("keys:add", "Add a public key", add)
            .args(&[maybe("file", "File of the public key; else the one in ~/.ssh"), switch("yes", "Do not ask").short('y')])
            .examples(&["keys:add", "keys:add ~/.ssh/id_ed25519.pub"]),
        there("keys:remove", "Remove a key", remove).args(&[need("key", "Its comment (user@host), id or fingerprint")]),
        there("keys:clear", "Remove all keys", clear),
    ],
};

fn list(s: &Session) -> Result<()> {
    let keys = s.client.list("/account/keys")?;
    s.show(&keys, || match items(&keys) {
        [] => "You have no SSH keys. Add one with: tidemill keys:add\n".into(),
        all if s.given.is("long") => all.iter().map(|k| format!("{}\n", field(k, "public_key").trim())).collect(),
        all => table(
            &all.iter().map(|k| vec![field(k, "comment").to_string(), field(k, "fingerprint").into()]).collect::<Vec<_>>(),
        ),
    });
    Ok(())
}

/// Public keys of this user, the best kind first.
fn own_keys() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let names = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
    names.iter().map(|name| home.join(".ssh").join(name)).filter(|path| path.exists()).collect()
}

fn add(s: &Session) -> Result<()> {
    let file = match s.given.text("file") {
        Some(file) => PathBuf::from(file),
        None => {
            let found = own_keys().into_iter().next();
            let found =
                found.ok_or_else(|| nothing("There is no public key in ~/.ssh. Make one with: ssh-keygen -t ed25519"))?;
            if !s.given.is("yes") && can_ask(s.global.no_input) {
                let answer = ask(&format!("Add {}? [Y/n] ", found.display()), s.global.no_input, "--yes")?;
                if answer.to_lowercase().starts_with('n') {
                    return Err(Failure::failed("Nothing was added."));
                }
            }
            found
        }
    };
    let shown = file.display().to_string();
    let key = std::fs::read_to_string(&file).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
    if key.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!("{shown} is a private key. It stays with you; give the file that ends in .pub.")));
    }
    let added =
        s.doing(&format!("Uploading {shown} SSH key"), |c| c.send("POST", "/account/keys", &json!({ "public_key": key })))?;
    s.show(&added, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let wanted = s.given.need("key");
    let keys = s.client.list("/account/keys")?;
    let is_it = |k: &&Value| ["comment", "id", "fingerprint"].iter().any(|f| field(k, f) == wanted);
    let key = items(&keys).iter().find(is_it).ok_or_else(|| {
        let names = items(&keys).iter().map(|k| field(k, "comment"));
        nothing(format!("SSH key {wanted} is not on your account.{}", crate::nearest::did_you_mean(wanted, names)))
    })?;
    let path = format!("/account/keys/{}", encoded(field(key, "id"))?);
    let removed = s.doing(&format!("Removing {wanted} SSH key"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}

fn clear(s: &Session) -> Result<()> {
    let keys = s.client.list("/account/keys")?;
    let removed = s.doing("Removing all SSH keys", |c| {
        let all = items(&keys).iter().map(|k| c.delete(&format!("/account/keys/{}", encoded(field(k, "id"))?)));
        Ok(Value::Array(all.collect::<Result<Vec<_>>>()?))
    })?;
    s.show(&removed, String::new);
    Ok(())
}
