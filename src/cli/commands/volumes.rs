//! Persistent volumes.

use super::prelude::*;
use std::time::{Duration, Instant};

const NAME: crate::verb::Arg = need("name", "Name of the volume");
/// A copy of a large volume takes its time; what is not done by then goes on without this command.
const WAIT_LIMIT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// `volumes`.
pub const TOPIC: Topic = Topic {
    name: "volumes",
    about: "Folders that outlive dynos and releases",
    verbs: &[
        there("volumes", "List the volumes of the app, or those in the trash", list)
            .aliases(&["volumes:list"])
            .args(&[switch("trash", "Those that no app has any more, and that can be taken out for seven days")])
            .examples(&["volumes -a shop", "volumes --trash"]),
        there("volumes:create", "Make a volume; dynos see it once it is attached", create)
            .args(&[NAME, value("size", "Size it is meant for, such as 500M or 2G: shown, not enforced")])
            .examples(&["volumes:create data -a shop", "volumes:create data --size 2G -a shop"]),
        there("volumes:attach", "Show a volume to dynos at a path; makes a release", attach)
            .args(&[
                NAME,
                need("path", "Where dynos see it, such as /data or /app/uploads"),
                value("process", "Only dynos of this type, and one-off dynos").short('p').live(Live::Types),
            ])
            .examples(&["volumes:attach data /data -a shop", "volumes:attach data /app/uploads -p web -a shop"]),
        there("volumes:detach", "Take a volume from dynos, its data stays; makes a release", detach)
            .args(&[NAME, maybe("path", "From this path only")]),
        there("volumes:snapshot", "Make a copy of a volume as it is now", snapshot).args(&[NAME]),
        there("volumes:snapshots", "List the copies of a volume", snapshots).args(&[NAME]),
        there("volumes:snapshots:destroy", "Remove a copy of a volume", remove_snapshot).args(&[
            NAME,
            need("snapshot", "As the list shows it, such as s3"),
            CONFIRM,
        ]),
        there("volumes:restore", "Put a volume back to a copy; what it holds now becomes a copy, too", restore)
            .args(&[NAME, need("snapshot", "As the list shows it, such as s3"), CONFIRM])
            .examples(&["volumes:restore data s3 -a shop --confirm data"]),
        there("volumes:adopt", "Take a volume out of the trash and give it to the app", adopt)
            .args(&[need("id", "Its id, as volumes --trash shows it"), value("name", "Another name for it")])
            .examples(&["volumes:adopt 01234567-89ab-cdef-0123-456789abcdef -a shop"]),
        there("volumes:destroy", "Put a volume into the trash, where it stays for seven days", destroy).args(&[NAME, CONFIRM]),
    ],
};

/// Bytes of `500M` and the like; a bare number is bytes.
fn bytes(text: &str) -> Result<u64> {
    let wrong = || Failure { text: format!("{text:?} is no size; write it as 500M or 2G."), exit: 2 };
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.trim_end_matches('B').trim_end_matches('I');
    let (number, shift) = match upper.chars().last() {
        Some('K') => (&upper[..upper.len() - 1], 10),
        Some('M') => (&upper[..upper.len() - 1], 20),
        Some('G') => (&upper[..upper.len() - 1], 30),
        Some('T') => (&upper[..upper.len() - 1], 40),
        _ => (upper, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(wrong)
}

fn path(s: &Session, rest: &str) -> Result<String> {
    s.path(&format!("/volumes/{}{rest}", encoded(s.given.need("name"))?))
}

fn places(volume: &Value) -> String {
    let place = |p: &Value| match p["process"].as_str() {
        Some(process) => format!("{} ({process})", field(p, "path")),
        None => field(p, "path").to_string(),
    };
    let all: Vec<String> = items(&volume["attachments"]).iter().map(place).collect();
    if all.is_empty() { "not attached".into() } else { all.join(", ") }
}

fn list(s: &Session) -> Result<()> {
    if s.given.is("trash") {
        let all = s.client.list("/volumes/trash")?;
        s.show(&all, || match items(&all).is_empty() {
            true => "The trash is empty.\n".into(),
            false => table(&rows(&all, &["/id", "/name", "/app_name", "/removed_at"])),
        });
        return Ok(());
    }
    let all = s.client.list(&s.path("/volumes")?)?;
    s.show(&all, || {
        let row = |v: &Value| {
            let limit = v["size_bytes"].as_u64().map_or(String::new(), |_| format!("at most {}", size(&v["size_bytes"])));
            vec![field(v, "name").to_string(), field(v, "state").to_string(), places(v), limit]
        };
        match items(&all).is_empty() {
            true => "There are no volumes. Make one: tidemill volumes:create data\n".into(),
            false => table(&items(&all).iter().map(row).collect::<Vec<_>>()),
        }
    });
    Ok(())
}

fn create(s: &Session) -> Result<()> {
    let (app, name) = (s.app()?, s.given.need("name"));
    let size = s.given.text("size").map(bytes).transpose()?;
    let body = json!({ "name": name, "size_bytes": size });
    let made =
        s.doing(&format!("Making volume {name} for {app}"), |c| c.send("POST", &format!("/apps/{app}/volumes"), &body))?;
    s.show(&made, || format!("Attach it: tidemill volumes:attach {name} /data -a {app}\n"));
    Ok(())
}

fn attach(s: &Session) -> Result<()> {
    let (app, name, at) = (s.app()?, s.given.need("name"), s.given.need("path"));
    let path = path(s, "/actions/attach")?;
    let body = json!({ "path": at, "process": s.given.text("process") });
    let row = s.doing(&format!("Attaching {name} to {app} at {at}"), |c| c.send("POST", &path, &body))?;
    s.show(&row, String::new);
    Ok(())
}

fn detach(s: &Session) -> Result<()> {
    let (app, name) = (s.app()?, s.given.need("name"));
    let path = path(s, "/actions/detach")?;
    let body = json!({ "path": s.given.text("path") });
    let row = s.doing(&format!("Detaching {name} from {app}"), |c| c.send("POST", &path, &body))?;
    s.show(&row, String::new);
    Ok(())
}

/// Looks until `done` says something.
fn follow(s: &Session, path: &str, done: impl Fn(&Value) -> Option<Result<Value>>) -> Result<Value> {
    let until = Instant::now() + WAIT_LIMIT;
    loop {
        if let Some(end) = done(&s.client.get(path)?) {
            return end;
        }
        if Instant::now() > until {
            let text = "It takes long and goes on without this command; look at it with volumes:snapshots.";
            return Err(Failure { text: text.into(), exit: 6 });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn snapshot(s: &Session) -> Result<()> {
    let name = s.given.need("name");
    let path = path(s, "/snapshots")?;
    let made = s.doing(&format!("Copying volume {name}"), |c| {
        let asked = c.send("POST", &path, &json!({}))?;
        follow(s, &path, |all| {
            let own = items(all).iter().find(|one| one["id"] == asked["id"])?;
            match field(own, "state") {
                "pending" => None,
                "ready" => Some(Ok(own.clone())),
                _ => {
                    let text = format!("Volume {name} could not be copied: {}", own["error"].as_str().unwrap_or("see the log"));
                    Some(Err(Failure { text, exit: 1 }))
                }
            }
        })
    })?;
    s.show(&made, || format!("{}  {}\n", field(&made, "name"), size(&made["bytes"])));
    Ok(())
}

fn snapshots(s: &Session) -> Result<()> {
    let all = s.client.list(&path(s, "/snapshots")?)?;
    s.show(&all, || {
        let row = |v: &Value| {
            let text = |name| field(v, name).to_string();
            vec![text("name"), text("state"), size(&v["bytes"]), text("created_at"), text("description")]
        };
        match items(&all).is_empty() {
            true => "There are no snapshots. Make one: tidemill volumes:snapshot NAME\n".into(),
            false => table(&items(&all).iter().map(row).collect::<Vec<_>>()),
        }
    });
    Ok(())
}

fn remove_snapshot(s: &Session) -> Result<()> {
    let (name, which) = (s.given.need("name"), s.given.need("snapshot"));
    s.confirmed(which, &format!("This removes the copy {which} of volume {name} for good. The volume stays."))?;
    let path = path(s, &format!("/snapshots/{}", encoded(which)?))?;
    let gone = s.doing(&format!("Removing {which} of {name}"), |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}

fn restore(s: &Session) -> Result<()> {
    let (name, which) = (s.given.need("name"), s.given.need("snapshot"));
    s.confirmed(name, &format!("Volume {name} becomes what it was in {which}. What it holds now is kept as another copy."))?;
    let (all, own) = (path(s, &format!("/snapshots/{}/actions/restore", encoded(which)?))?, path(s, "")?);
    let row = s.doing(&format!("Putting {name} back to {which}"), |c| {
        c.send("POST", &all, &json!({}))?;
        follow(s, &own, |row| (field(row, "state") != "restoring").then(|| Ok(row.clone())))
    })?;
    s.show(&row, String::new);
    Ok(())
}

fn adopt(s: &Session) -> Result<()> {
    let (app, id) = (s.app()?, s.given.need("id"));
    let body = json!({ "from_trash": id, "name": s.given.text("name") });
    let what = format!("Taking the volume out of the trash for {app}");
    let row = s.doing(&what, |c| c.send("POST", &format!("/apps/{app}/volumes"), &body))?;
    s.show(&row, || format!("Attach it: tidemill volumes:attach {} /data -a {app}\n", field(&row, "name")));
    Ok(())
}

fn destroy(s: &Session) -> Result<()> {
    let name = s.given.need("name");
    s.confirmed(
        name,
        &format!("This puts volume {name} with its copies into the trash. After seven days it is gone for good."),
    )?;
    let path = path(s, "")?;
    let gone = s.doing(&format!("Putting {name} into the trash"), |c| c.delete(&path))?;
    s.show(&gone, || {
        format!("Take it out until {}: tidemill volumes:adopt {} -a APP\n", field(&gone, "removed_at"), field(&gone, "id"))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_usual_ways() {
        for (text, wanted) in
            [("500M", 500 << 20), ("2G", 2 << 30), ("2GiB", 2 << 30), ("2gb", 2 << 30), ("1024", 1024), ("1k", 1024)]
        {
            assert_eq!(bytes(text).ok(), Some(wanted), "{text}");
        }
        for bad in ["", "G", "-1G", "0", "1.5G", "999999999999T", "2X"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
