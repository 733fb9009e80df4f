//! Dynos: list, scale, resize, restart, stop, wait.

use super::{one_offs, prelude::*};
use crate::nearest::did_you_mean;
use std::time::{Duration, Instant};

/// `ps`.
pub const TOPIC: Topic = Topic {
    name: "ps",
    about: "Dynos of an app",
    verbs: &[
        there("ps", "List dynos", ps).aliases(&["ps:list", "dyno"]).examples(&["ps -a shop", "ps --json -a shop"]),
        there("ps:scale", "Change number or size of dynos", scale)
            .aliases(&["scale", "dyno:scale"])
            .args(&[any("changes", "TYPE=NUMBER[:SIZE], TYPE+1, TYPE-1; nothing shows how it is").live(Live::Types)])
            .examples(&["ps:scale -a shop", "ps:scale web=2 worker=1:Standard-2X -a shop", "ps:scale web+1 -a shop"]),
        there("ps:type", "Show or change the size of dynos", resize)
            .aliases(&["ps:resize", "resize", "dyno:type"])
            .args(&[any("changes", "TYPE=SIZE, or one size for all types").live(Live::Types)])
            .examples(&["ps:type -a shop", "ps:type web=Standard-2X -a shop", "ps:type Standard-1X -a shop"]),
        there("ps:restart", "Restart all dynos, those of a type, or one", restart)
            .aliases(&["restart", "dyno:restart"])
            .args(&[maybe("dyno", "web or web.1").live(Live::Dynos), DYNO_NAME, TYPE])
            .examples(&["ps:restart -a shop", "ps:restart web.1 -a shop", "ps:restart worker -a shop"]),
        there("ps:stop", "Stop dynos; those of the formation come back by themselves", stop)
            .aliases(&["stop", "ps:kill", "dyno:kill", "dyno:stop"])
            .args(&[maybe("dyno", "web, web.1 or run.1234").live(Live::Dynos), DYNO_NAME, TYPE])
            .examples(&["ps:stop run.1234 -a shop"]),
        there("ps:wait", "Wait until all dynos run the newest release", wait)
            .args(&[
                value("timeout", "Seconds [default: 600]"),
                value("wait-interval", "Seconds between looks [default: 2]").short('w'),
                switch("with-run", "Those that run once, too").short('R'),
                value("type", "Only this type").short('t'),
            ])
            .examples(&["ps:wait -a shop"]),
        there("ps:exec", "Run a command inside a dyno that runs, a shell without one", one_offs::exec)
            .args(&[
                value("dyno", "web.1").short('d').live(Live::Dynos),
                switch("no-tty", "Pipes instead of a terminal, as when input or output is none"),
                crate::verb::Arg {
                    shape: crate::verb::Shape::Place { min: 0, max: usize::MAX },
                    ..rest("command", "The command")
                },
            ])
            .examples(&["ps:exec -a shop", "ps:exec -d worker.1 -a shop -- ls /tmp"]),
    ],
};

const DYNO_NAME: crate::verb::Arg = value("dyno-name", "web.1").short('d').live(Live::Dynos);
const TYPE: crate::verb::Arg = value("process-type", "web").short('p').aliases(&["type"]);

fn ps(s: &Session) -> Result<()> {
    let name = s.app()?;
    let dynos = s.client.list(&format!("/apps/{name}/dynos"))?;
    s.show(&dynos, || {
        let mut out = String::new();
        let mut types: Vec<&str> = items(&dynos).iter().map(|d| field(d, "type")).collect();
        types.dedup();
        for ptype in types {
            let of_type: Vec<&Value> = items(&dynos).iter().filter(|d| field(d, "type") == ptype).collect();
            let Some(first) = of_type.first() else { continue };
            let title = format!("{ptype} ({}): {} ({})", field(first, "size"), field(first, "command"), of_type.len());
            out.push_str(&format!("{}\n", heading(&title)));
            for dyno in of_type {
                out.push_str(&format!("{}: {} {}\n", field(dyno, "name"), field(dyno, "state"), field(dyno, "updated_at")));
            }
            out.push('\n');
        }
        if out.is_empty() { format!("No dynos on {name}\n") } else { out }
    });
    Ok(())
}

fn show_formation(s: &Session, formation: &Value) {
    s.show(formation, || {
        let all: Vec<String> =
            items(formation).iter().map(|f| format!("{}={}:{}", field(f, "type"), f["quantity"], field(f, "size"))).collect();
        format!("{}\n", all.join(" "))
    });
}

/// Adds what was likely meant to a failure about a type that is not there.
fn about_types(s: &Session, failure: Failure, updates: &[Value]) -> Failure {
    if failure.exit != 4 || !failure.text.contains("process type") {
        return failure;
    }
    let formation = s.path("/formation").and_then(|path| s.client.list(&path)).unwrap_or_default();
    let known = || items(&formation).iter().map(|f| field(f, "type"));
    let unknown = updates.iter().map(|u| field(u, "type")).find(|t| known().all(|k| k != *t)).unwrap_or_default();
    Failure { text: format!("{}{}", failure.text, did_you_mean(unknown, known())), ..failure }
}

fn scale(s: &Session) -> Result<()> {
    let name = s.app()?;
    let changes = s.given.all("changes");
    let path = format!("/apps/{name}/formation");
    if changes.is_empty() {
        show_formation(s, &s.client.list(&path)?);
        return Ok(());
    }
    let updates = changes.iter().map(|c| scale_change(c)).collect::<Result<Vec<Value>>>()?;
    let ended = |formation: &Value| {
        let all: Vec<String> = items(formation)
            .iter()
            .map(|f| format!("{} at {}:{}", field(f, "type"), f["quantity"], field(f, "size")))
            .collect();
        format!("done, now running {}", all.join(", "))
    };
    let formation = s.doing_with("Scaling dynos", |c| c.send("PATCH", &path, &json!({ "updates": updates })), ended);
    let formation = formation.map_err(|failure| about_types(s, failure, &updates))?;
    s.show(&formation, String::new);
    Ok(())
}

fn resize(s: &Session) -> Result<()> {
    let path = s.path("/formation")?;
    let (formation, changes) = (s.client.list(&path)?, s.given.all("changes"));
    let updates: Vec<Value> = match changes.as_slice() {
        [] => vec![],
        [size] if !size.contains('=') => items(&formation).iter().map(|f| json!({ "type": f["type"], "size": size })).collect(),
        changes => {
            let pair = |c: &String| c.split_once('=').map(|(t, size)| json!({ "type": t, "size": size }));
            let all: Option<Vec<Value>> = changes.iter().map(pair).collect();
            all.ok_or_else(|| Failure::usage("Must be in the format web=Standard-2X, or one size for all."))?
        }
    };
    let formation = if updates.is_empty() {
        formation
    } else {
        let changed = s.doing("Changing the size of dynos", |c| c.send("PATCH", &path, &json!({ "updates": updates })));
        changed.map_err(|failure| about_types(s, failure, &updates))?
    };
    s.show(&formation, || {
        let mut all = vec![["process", "type", "quantity"].map(String::from).to_vec()];
        all.extend(rows(&formation, &["/type", "/size", "/quantity"]));
        table(&all)
    });
    Ok(())
}

/// Which dynos: a place or a flag.
fn target(s: &Session) -> Option<&str> {
    s.given.text("dyno").or_else(|| s.given.text("dyno-name")).or_else(|| s.given.text("process-type"))
}

fn restart(s: &Session) -> Result<()> {
    let name = s.app()?;
    let path = match target(s) {
        Some(dyno) => format!("/apps/{name}/dynos/{}", encoded(dyno)?),
        None => format!("/apps/{name}/dynos"),
    };
    let what = format!("Restarting {} on {name}", target(s).unwrap_or("all dynos"));
    let answer = s.doing(&what, |c| c.delete(&path))?;
    s.show(&answer, String::new);
    Ok(())
}

fn stop(s: &Session) -> Result<()> {
    let name = s.app()?;
    let dyno = target(s).ok_or_else(|| Failure::usage("Say which: a dyno such as web.1, or a type such as web."))?;
    let path = format!("/apps/{name}/dynos/{}/actions/stop", encoded(dyno)?);
    let answer = s.doing(&format!("Stopping {dyno} on {name}"), |c| c.send("POST", &path, &json!({})))?;
    s.show(&answer, String::new);
    Ok(())
}

fn wait(s: &Session) -> Result<()> {
    let name = s.app()?;
    let limit = Duration::from_secs(s.given.number("timeout")?.unwrap_or(600));
    let pause = Duration::from_secs(s.given.number("wait-interval")?.unwrap_or(2).max(1));
    let releases = s.client.part(&format!("/apps/{name}/releases"), "version ..; max=15, order=desc")?;
    let current = items(&releases).iter().find(|r| r["current"] == true);
    let version = current.map(|r| r["version"].clone()).ok_or_else(|| nothing(format!("{name} has no release yet.")))?;
    let is_meant = |d: &Value| match s.given.text("type") {
        Some(ptype) => field(d, "type") == ptype,
        None => s.given.is("with-run") || (field(d, "type") != "run" && field(d, "type") != "release"),
    };
    let begun = Instant::now();
    let dynos = s.doing(&format!("Waiting for every dyno of {name} to be running v{version}"), |c| {
        loop {
            let dynos = c.list(&format!("/apps/{name}/dynos"))?;
            let meant: Vec<Value> = items(&dynos).iter().filter(|d| is_meant(d)).cloned().collect();
            let late = meant.iter().filter(|d| d["release"]["version"] != version || field(d, "state") != "up").count();
            if late == 0 {
                return Ok(Value::Array(meant));
            }
            if begun.elapsed() > limit {
                return Err(Failure::unreachable(format!("{late} of {} dynos are not up with v{version} yet.", meant.len())));
            }
            std::thread::sleep(pause);
        }
    })?;
    s.show(&dynos, String::new);
    Ok(())
}

/// `web=2`, `web=2:Standard-1X`, `web+1`, `web-1`.
fn scale_change(text: &str) -> Result<Value> {
    let bad = || Failure::usage(format!("{text} is invalid. Must be in the format web=2, web=2:Standard-1X or web+1."));
    if let Some((ptype, rest)) = text.split_once('=') {
        let (quantity, size) = rest.split_once(':').map_or((rest, None), |(q, s)| (q, Some(s)));
        let (quantity, size) = match quantity.parse::<u32>() {
            Ok(quantity) => (Some(quantity), size),
            Err(_) if size.is_none() && !quantity.is_empty() => (None, Some(quantity)),
            Err(_) => return Err(bad()),
        };
        let mut change = json!({ "type": ptype });
        quantity.into_iter().for_each(|q| change["quantity"] = q.into());
        size.into_iter().for_each(|s| change["size"] = s.into());
        return Ok(change);
    }
    let (text_of_step, size) = text.split_once(':').map_or((text, None), |(t, s)| (t, Some(s)));
    let at = text_of_step.rfind(['+', '-']).filter(|at| *at > 0).ok_or_else(bad)?;
    let (ptype, step) = text_of_step.split_at(at);
    step[1..].parse::<u32>().map_err(|_| bad())?;
    let mut change = json!({ "type": ptype, "quantity": step });
    size.into_iter().for_each(|s| change["size"] = s.into());
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_forms() {
        assert_eq!(scale_change("web=2").unwrap(), json!({"type": "web", "quantity": 2}));
        assert_eq!(scale_change("web=2:standard-2x").unwrap(), json!({"type": "web", "quantity": 2, "size": "standard-2x"}));
        assert_eq!(scale_change("my-worker+1").unwrap(), json!({"type": "my-worker", "quantity": "+1"}));
        assert_eq!(scale_change("w+1:Basic").unwrap(), json!({"type": "w", "quantity": "+1", "size": "Basic"}));
        assert_eq!(scale_change("web=Basic").unwrap(), json!({"type": "web", "size": "Basic"}));
        for bad in ["web", "web=", "+1", "web+x", "web=:S"] {
            assert_eq!(scale_change(bad).unwrap_err().exit, 2, "{bad}");
        }
    }
}
