//! Alerts: what is wrong, rules, and who is told.

use super::{metrics::seconds, prelude::*};

const ALL: crate::verb::Arg = switch("all", "Of the server and all apps (admins)");

/// `alerts`.
pub const TOPIC: Topic = Topic {
    name: "alerts",
    about: "What is wrong, and who is told of it",
    verbs: &[
        there("alerts", "List alerts, the newest first", alerts)
            .args(&[switch("open", "Only those that are open"), ALL])
            .examples(&["alerts -a shop", "alerts --all --open"]),
        there("alerts:rules", "List the rules of the app", rules),
        there("alerts:add", "Add a rule: an alert opens when a metric has been at a threshold or above for a time", add)
            .args(&[
                need("metric", "crashes, certificate, memory, 5xx-share, p95, drain, cpu, requests or failed-deploy"),
                need("threshold", "From here on it is too much"),
                value("for", "For how long [default: 5m]"),
                value("name", "What it is called"),
                value("process", "Only this type or dyno").short('p').live(Live::Dynos),
            ])
            .examples(&["alerts:add p95 800 --for 10m -a shop", "alerts:add memory 90 -p worker -a shop"]),
        there("alerts:remove", "Remove a rule", remove).args(&[need("rule", "Its name or id")]),
        there("alerts:channels", "List the channels that notices go to", channels).args(&[ALL]),
        there("alerts:channels:add", "Add a channel", add_channel)
            .args(&[
                need("kind", "email, webhook, chat or ntfy").words(&["email", "webhook", "chat", "ntfy"]),
                need("target", "E-mail address, or URL"),
                value("secret", "For the signatures of a webhook; one is made if none is given"),
                ALL,
            ])
            .examples(&[
                "alerts:channels:add email ana@example.com -a shop",
                "alerts:channels:add ntfy https://ntfy.example.com/shop -a shop",
            ]),
        there("alerts:channels:remove", "Remove a channel", remove_channel).args(&[need("channel", "Its id or address"), ALL]),
        there("alerts:channels:test", "Send a notice to try a channel", test_channel)
            .args(&[need("channel", "Its id or address"), ALL]),
        there("alerts:deliveries", "List what was sent to the channels, the newest first", deliveries).args(&[ALL]),
    ],
};

/// The path of the app, or of the server with `--all`.
fn path(s: &Session, rest: &str) -> Result<String> {
    if s.given.is("all") { Ok(format!("/machine{rest}")) } else { s.path(rest) }
}

fn newest_first(s: &Session, path: &str, key: &str) -> Result<Value> {
    s.client.part(path, &format!("{key} ..; max=200, order=desc"))
}

fn alerts(s: &Session) -> Result<()> {
    let query = if s.given.is("open") { "?eq[state]=open" } else { "" };
    let found = newest_first(s, &path(s, &format!("/alerts{query}"))?, "opened_at")?;
    s.show(&found, || {
        if items(&found).is_empty() {
            return "Nothing is wrong.\n".into();
        }
        let mut out = String::new();
        for alert in items(&found) {
            let (open, about) = (field(alert, "state") == "open", alert["app"]["name"].as_str().unwrap_or("server"));
            let count = alert["count"].as_u64().unwrap_or(1);
            let often = if count > 1 { format!(", {count} times") } else { String::new() };
            let until = alert["closed_at"].as_str().map_or(String::new(), |at| format!(" to {at}"));
            out.push_str(&heading(&format!("{} · {about} · {}", field(alert, "rule"), field(alert, "state"))));
            out.push_str(&format!("{}\n{}{until}{often}\n", field(alert, "text"), field(alert, "opened_at")));
            if open {
                out.push_str(&format!("Next: {}\n", field(alert, "fix")));
            }
            out.push('\n');
        }
        out
    });
    Ok(())
}

fn rules(s: &Session) -> Result<()> {
    let found = s.client.get(&s.path("/alert-rules")?)?;
    s.show(&found, || {
        let mut all = vec![["NAME", "METRIC", "FROM", "FOR", "PROCESS"].map(String::from).to_vec()];
        for rule in items(&found) {
            let built_in = if rule["built_in"] == true { " (built in)" } else { "" };
            all.push(vec![
                format!("{}{built_in}", field(rule, "name")),
                field(rule, "metric").into(),
                text(&rule["threshold"]),
                format!("{}s", rule["for_s"]),
                rule["process"].as_str().unwrap_or("").into(),
            ]);
        }
        table(&all)
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let (metric, threshold) = (s.given.need("metric"), s.given.need("threshold"));
    let number: f64 = threshold.parse().map_err(|_| Failure::usage(format!("{threshold:?} is no number.")))?;
    let mut body = json!({ "metric": metric, "threshold": number });
    if let Some(time) = s.given.text("for") {
        body["for_s"] = json!(if time == "0" { 0 } else { seconds(time)? });
    }
    for key in ["name", "process"] {
        if let Some(value) = s.given.text(key) {
            body[key] = json!(value);
        }
    }
    let name = s.app()?;
    let what = format!("Adding a rule for {metric} to {name}");
    let rule = s.doing(&what, |c| c.send("POST", &format!("/apps/{name}/alert-rules"), &body))?;
    s.show(&rule, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, rule) = (s.app()?, s.given.need("rule"));
    let path = format!("/apps/{name}/alert-rules/{}", encoded(rule)?);
    let gone = s.doing(&format!("Removing the rule {rule} from {name}"), |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}

fn channels(s: &Session) -> Result<()> {
    let found = s.client.list(&path(s, "/alert-channels")?)?;
    s.show(&found, || {
        if items(&found).is_empty() {
            return "There are no channels; add one: tidemill alerts:channels:add email YOU@EXAMPLE.COM\n".into();
        }
        let mut all = vec![["KIND", "TARGET", "LAST DELIVERY", "ID"].map(String::from).to_vec()];
        for channel in items(&found) {
            let last = &channel["last_delivery"];
            let told = match last["status"].as_str() {
                None => "–".into(),
                Some(status) => format!("{status} {}", field(last, "updated_at")),
            };
            all.push(vec![field(channel, "kind").into(), field(channel, "target").into(), told, field(channel, "id").into()]);
        }
        table(&all)
    });
    Ok(())
}

fn add_channel(s: &Session) -> Result<()> {
    let (kind, target) = (s.given.need("kind"), s.given.need("target"));
    let mut body = json!({ "kind": kind, "target": target });
    if let Some(secret) = s.given.text("secret") {
        body["secret"] = json!(secret);
    }
    let answer = s.client.request("POST", &path(s, "/alert-channels")?, &[], Some(&body))?;
    let secret = answer.header("tidemill-channel-secret").map(String::from);
    let channel = answer.value;
    s.show(&channel, || match &secret {
        Some(secret) => format!("Added. Its notices are signed with this secret, which is not shown again:\n{secret}\n"),
        None => "Added. Try it: tidemill alerts:channels:test ".to_string() + field(&channel, "id") + "\n",
    });
    Ok(())
}

fn remove_channel(s: &Session) -> Result<()> {
    let channel = s.given.need("channel");
    let path = path(s, &format!("/alert-channels/{}", encoded(channel)?))?;
    let gone = s.doing(&format!("Removing the channel {channel}"), |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}

/// Waits until the notice is delivered, or was not.
fn test_channel(s: &Session) -> Result<()> {
    const LOOKS: u32 = 60;
    let channel = s.given.need("channel");
    let at = path(s, &format!("/alert-channels/{}/actions/test", encoded(channel)?))?;
    let list = path(s, "/alert-deliveries")?;
    let what = format!("Trying the channel {channel}");
    let ended = |delivery: &Value| field(delivery, "status").to_string();
    let delivery = s.doing_with(
        &what,
        |c| {
            let asked = c.send("POST", &at, &json!({}))?;
            for _ in 0..LOOKS {
                let all = c.part(&list, "created_at ..; max=200, order=desc")?;
                let own = items(&all).iter().find(|delivery| delivery["id"] == asked["id"]).cloned().unwrap_or_default();
                if field(&own, "status") != "pending" || own["attempts"].as_u64().unwrap_or(0) > 0 {
                    return Ok(own);
                }
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
            Ok(asked)
        },
        ended,
    )?;
    s.show(&delivery, String::new);
    match delivery["error"].as_str() {
        Some(error) => Err(Failure::failed(format!("The notice was not taken: {error}"))),
        None => Ok(()),
    }
}

fn deliveries(s: &Session) -> Result<()> {
    let found = newest_first(s, &path(s, "/alert-deliveries")?, "created_at")?;
    s.show(&found, || match items(&found) {
        [] => "Nothing was sent yet.\n".into(),
        _ => table(&rows(&found, &["/created_at", "/what", "/status", "/subject", "/error"])),
    });
    Ok(())
}
