//! Root file systems.

use super::prelude::*;
use crate::verb::binary;

/// `stack`.
pub const TOPIC: Topic = Topic {
    name: "stack",
    about: "Root file systems that apps are built and run on",
    verbs: &[
        there("stack", "List stacks, and which one the app uses", stack).aliases(&["stacks"]).examples(&["stack -a shop"]),
        there("stack:set", "Use another stack from the next build on", set)
            .aliases(&["stacks:set"])
            .args(&[need("stack", "Its name").live(Live::Stacks)]),
        binary("stack:import", "Import a root file system (on the server, as root): stack:import NAME FILE.tar"),
    ],
};

/// Lists stacks.
pub fn stack(s: &Session) -> Result<()> {
    let stacks = s.client.list("/stacks")?;
    // Without an app there is none to mark.
    let app = s.app().ok().map(|name| s.client.get(&format!("/apps/{name}"))).transpose()?;
    let used = app.as_ref().map_or("", |app| field(&app["build_stack"], "name"));
    s.show(&stacks, || {
        let mark = |name: &str| if name == used { "*" } else { " " };
        items(&stacks).iter().map(|s| format!("{} {}\n", mark(field(s, "name")), field(s, "name"))).collect()
    });
    Ok(())
}

/// Sets the stack of an app.
pub fn set(s: &Session) -> Result<()> {
    let (name, stack) = (s.app()?, s.given.need("stack"));
    let body = json!({ "build_stack": stack });
    let app = s.doing(&format!("Setting stack to {stack}"), |c| c.send("PATCH", &format!("/apps/{name}"), &body))?;
    eprintln!("You will need to redeploy {name} for the change to take effect: git push tidemill main");
    s.show(&app, String::new);
    Ok(())
}
