//! Features and the health check.

use super::{Session, encoded, field, items, show};
use crate::{failure::Result, output::table};
use serde_json::{Value, json};

impl Session {
    pub fn features(&self) -> Result<()> {
        let name = self.app()?;
        let features = self.client.get(&format!("/apps/{name}/features"), None)?;
        show(&self.global, &features, || {
            let mark = |f: &Value| if f["enabled"] == true { "[+]" } else { "[ ]" };
            let row = |f: &Value| vec![mark(f).to_string(), field(f, "name").into(), field(f, "description").into()];
            format!("=== App Features {name}\n{}", table(&items(&features).iter().map(row).collect::<Vec<_>>()))
        });
        Ok(())
    }

    pub fn feature(&self, feature: &str) -> Result<()> {
        let feature = self.client.get(&format!("/apps/{}/features/{}", self.app()?, encoded(feature)?), None)?;
        show(&self.global, &feature, || {
            let row = |label: &str, value: &str| vec![format!("{label}:"), value.to_string()];
            let enabled = if feature["enabled"] == true { "true" } else { "false" };
            let rows = [row("Description", field(&feature, "description")), row("Enabled", enabled)];
            format!("=== {}\n{}", field(&feature, "name"), table(&rows))
        });
        Ok(())
    }

    pub fn switch_feature(&self, feature: &str, enabled: bool) -> Result<()> {
        let name = self.app()?;
        let path = format!("/apps/{name}/features/{}", encoded(feature)?);
        let switched = self.client.send("PATCH", &path, &json!({ "enabled": enabled }))?;
        let verb = if enabled { "Enabling" } else { "Disabling" };
        eprintln!("{verb} {} for {name}... done", field(&switched, "name"));
        show(&self.global, &switched, String::new);
        Ok(())
    }

    pub fn health_check(&self) -> Result<()> {
        let check = self.client.get(&format!("/apps/{}/health-check", self.app()?), None)?;
        show(&self.global, &check, || {
            let row = |label: &str, value: String| vec![format!("{label}:"), value];
            table(&[
                row("Path", field(&check, "path").into()),
                row("Successes", check["successes"].to_string()),
                row("Timeout", format!("{} s", check["timeout"])),
                row("Interval", format!("{} s", check["interval"])),
            ])
        });
        Ok(())
    }

    pub fn set_health_check(
        &self,
        path: &str,
        successes: Option<u32>,
        timeout: Option<u64>,
        interval: Option<u64>,
    ) -> Result<()> {
        let name = self.app()?;
        let body = json!({ "path": path, "successes": successes, "timeout": timeout, "interval": interval });
        let check = self.client.send("PUT", &format!("/apps/{name}/health-check"), &body)?;
        eprintln!("Setting health check {path} for {name}... done; web dynos that start from now on have to pass it");
        show(&self.global, &check, String::new);
        Ok(())
    }

    pub fn clear_health_check(&self) -> Result<()> {
        let name = self.app()?;
        let check = self.client.delete(&format!("/apps/{name}/health-check"))?;
        eprintln!("Removing the health check of {name}... done");
        show(&self.global, &check, String::new);
        Ok(())
    }
}
