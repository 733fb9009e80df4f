//! Root file systems.

use super::{Session, field, items, show};
use crate::failure::Result;
use serde_json::json;

impl Session {
    pub(super) fn stack(&self) -> Result<()> {
        let stacks = self.client.get("/stacks", None)?;
        // Without an app there is none to mark.
        let app = self.app().ok().map(|name| self.client.get(&format!("/apps/{name}"), None)).transpose()?;
        let used = app.as_ref().map_or("", |app| field(&app["build_stack"], "name"));
        show(&self.global, &stacks, || {
            let mark = |name: &str| if name == used { "*" } else { " " };
            items(&stacks).iter().map(|s| format!("{} {}\n", mark(field(s, "name")), field(s, "name"))).collect()
        });
        Ok(())
    }

    pub(super) fn set_stack(&self, stack: &str) -> Result<()> {
        let name = self.app()?;
        let app = self.client.send("PATCH", &format!("/apps/{name}"), &json!({ "build_stack": stack }))?;
        eprintln!("Setting stack to {stack}... done");
        eprintln!("You will need to redeploy {name} for the change to take effect: git push tidemill main");
        show(&self.global, &app, String::new);
        Ok(())
    }
}
