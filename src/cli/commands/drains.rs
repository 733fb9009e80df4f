//! Places where the log goes.

use super::prelude::*;

/// `drains`.
pub const TOPIC: Topic = Topic {
    name: "drains",
    about: "Other places where the log of an app goes",
    verbs: &[
        there("drains", "List drains", list).aliases(&["drains:list"]).args(&[switch("extended", "With their ids").short('x')]),
        there("drains:add", "Send the log to another place, too", add)
            .args(&[need("url", "https://, syslog+tls:// or otlp+https:// address")])
            .examples(&["drains:add https://logs.example.com/in -a shop"]),
        there("drains:test", "Hand one line over now, and say whether it was taken", test)
            .args(&[need("url", "Address, token or id")])
            .examples(&["drains:test https://logs.example.com/in -a shop"]),
        there("drains:remove", "Do not send the log there any more", remove).args(&[need("url", "Address, token or id")]),
    ],
};

fn list(s: &Session) -> Result<()> {
    let base = s.path("/log-drains")?;
    let mut drains = s.client.list(&base)?;
    // How each does is asked for one by one; an app has few.
    for drain in drains.as_array_mut().into_iter().flatten() {
        let state = s.client.get(&format!("{base}/{}/state", field(drain, "id")))?;
        drain["state"] = state;
    }
    s.show(&drains, || match items(&drains) {
        [] => "There are no drains.\n".into(),
        all => {
            let mut columns =
                vec!["/url", "/token", "/state/last_success_at", "/state/lag", "/state/dropped", "/state/last_error"];
            if s.given.is("extended") {
                columns.push("/id");
            }
            format!("{}{}", table(&rows(&drains, &columns)), legend(all.len()))
        }
    });
    Ok(())
}

fn legend(drains: usize) -> String {
    format!("{drains} of 5 drains: address, token, last taken, lines that wait, lines that were lost, last error\n")
}

fn test(s: &Session) -> Result<()> {
    let (name, url) = (s.app()?, s.given.need("url"));
    let path = format!("/apps/{name}/log-drains/{}/test", encoded(url)?);
    let tested = s.doing(&format!("Testing drain {url} of {name}"), |c| c.send("POST", &path, &json!({})))?;
    if let Some(error) = tested["error"].as_str() {
        return Err(Failure::failed(format!("The line was not taken: {error}")));
    }
    s.show(&tested, || format!("The line was taken after {} ms.\n", tested["took_ms"]));
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
