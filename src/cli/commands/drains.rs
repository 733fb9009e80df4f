//! Places where the log goes.

use super::prelude::*;

/// `drains`.
pub const TOPIC: Topic = Topic {
    name: "drains",
    about: "Other places where the log of an app goes",
    verbs: &[
        there("drains", "List drains", list).aliases(&["drains:list"]).args(&[switch("extended", "With their ids").short('x')]),
        there("drains:add", "Send the log to another place, too", add)
            .args(&[need("url", "https:// or syslog+tls:// address")])
            .examples(&["drains:add https://logs.example.com/in -a shop"]),
        there("drains:remove", "Do not send the log there any more", remove).args(&[need("url", "Address, token or id")]),
    ],
};

fn list(s: &Session) -> Result<()> {
    let drains = s.client.list(&s.path("/log-drains")?)?;
    s.show(&drains, || match items(&drains) {
        [] => "There are no drains.\n".into(),
        _ if s.given.is("extended") => table(&rows(&drains, &["/url", "/token", "/id"])),
        _ => table(&rows(&drains, &["/url", "/token"])),
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let (name, url) = (s.app()?, s.given.need("url"));
    let what = format!("Adding drain {url} to {name}");
    let drain = s.doing(&what, |c| c.send("POST", &format!("/apps/{name}/log-drains"), &json!({ "url": url })))?;
    s.show(&drain, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, url) = (s.app()?, s.given.need("url"));
    let path = format!("/apps/{name}/log-drains/{}", encoded(url)?);
    let drain = s.doing(&format!("Removing drain {url} from {name}"), |c| c.delete(&path))?;
    s.show(&drain, String::new);
    Ok(())
}
