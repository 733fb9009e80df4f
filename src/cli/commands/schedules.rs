//! Commands that run by the clock.

use super::{one_offs::command_line, prelude::*};

/// `schedule`.
pub const TOPIC: Topic = Topic {
    name: "schedule",
    about: "Commands that run again and again",
    verbs: &[
        there("schedule", "List scheduled commands", list).aliases(&["schedule:list"]),
        there("schedule:add", "Run a command again and again (UTC)", add)
            .args(&[
                need("cron", "Five fields of cron, or hourly, daily, \"every 10 minutes\""),
                rest("command", "The command"),
                value("size", "Dyno size").short('s'),
            ])
            .examples(&["schedule:add \"0 3 * * *\" -a shop -- ./bin/clean", "schedule:add hourly -a shop -- ./bin/mail"]),
        there("schedule:remove", "Remove a scheduled command", remove).args(&[need("id", "Id, as the list shows it")]),
    ],
};

fn list(s: &Session) -> Result<()> {
    let all = s.client.list(&s.path("/schedules")?)?;
    s.show(&all, || table(&rows(&all, &["/id", "/cron", "/command", "/next_run_at"])));
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let name = s.app()?;
    let command = command_line(&s.given.all("command"));
    let body = json!({ "cron": s.given.need("cron"), "command": command, "size": s.given.text("size") });
    let what = format!("Scheduling {command} on {name}");
    let added = s.doing(&what, |c| c.send("POST", &format!("/apps/{name}/schedules"), &body))?;
    s.show(&added, || format!("{}  first run {}\n", field(&added, "id"), field(&added, "next_run_at")));
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, id) = (s.app()?, s.given.need("id"));
    let path = format!("/apps/{name}/schedules/{}", encoded(id)?);
    let removed = s.doing(&format!("Removing {id} from {name}"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}
