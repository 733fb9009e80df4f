//! Domains.

use super::prelude::*;
use std::time::{Duration, Instant};

/// `domains`.
pub const TOPIC: Topic = Topic {
    name: "domains",
    about: "Names that an app answers to",
    verbs: &[
        there("domains", "List domains", list).aliases(&["domains:list"]).examples(&["domains -a shop"]),
        there("domains:add", "Add a domain", add)
            .args(&[
                HOSTNAME_NEW,
                CERT,
                value("timeout", "Seconds for --wait [default: 600]"),
                switch("wait", "Wait until it is ready"),
            ])
            .examples(&["domains:add www.shop.example -a shop", "domains:add www.shop.example --wait -a shop"]),
        there("domains:info", "Show a domain with the records it needs", info).args(&[HOSTNAME]),
        there("domains:update", "Answer for a domain with a certificate", update)
            .args(&[maybe("hostname", "Name; without it the only one").live(Live::Domains), CERT])
            .examples(&["domains:update www.shop.example --cert tyrannosaurus-12345 -a shop"]),
        there("domains:wait", "Wait until domains are ready", wait)
            .args(&[maybe("hostname", "Name; without it all").live(Live::Domains), value("timeout", "Seconds [default: 600]")]),
        there("domains:remove", "Remove a domain", remove).args(&[HOSTNAME]),
        there("domains:clear", "Remove all domains of your own", clear).args(&[CONFIRM]),
    ],
};

const HOSTNAME_NEW: crate::verb::Arg = need("hostname", "www.example.com or *.example.com");
const HOSTNAME: crate::verb::Arg = need("hostname", "Name").live(Live::Domains);
const CERT: crate::verb::Arg = value("cert", "Name of the certificate, as certs shows it");
const PAUSE: Duration = Duration::from_secs(2);

fn all(s: &Session) -> Result<Value> {
    s.client.list(&s.path("/domains")?)
}

fn path_of(s: &Session, hostname: &str) -> Result<String> {
    s.path(&format!("/domains/{}", encoded(hostname)?))
}

fn list(s: &Session) -> Result<()> {
    let (name, domains) = (s.app()?, all(s)?);
    s.show(&domains, || {
        let of = |kind: &str| items(&domains).iter().filter(|d| field(d, "kind") == kind).collect::<Vec<_>>();
        let mut out = heading(&format!("{name} Domains"));
        let row = |d: &&Value| {
            vec![
                field(d, "hostname").to_string(),
                field(d, "kind").into(),
                field(d, "cname").into(),
                field(d, "acm_status").into(),
            ]
        };
        out.push_str(&table(&of("heroku").iter().chain(of("custom").iter()).map(row).collect::<Vec<_>>()));
        out
    });
    Ok(())
}

/// With managed certificates a domain is ready when it has one.
fn is_ready(domain: &Value) -> bool {
    matches!(field(domain, "status"), "none" | "succeeded")
        && matches!(domain["acm_status"].as_str(), None | Some("cert issued"))
}

fn tell_records(domain: &Value) {
    if let Some(cname) = domain["cname"].as_str() {
        eprintln!("Configure your DNS: {} must be a CNAME of {cname}", field(domain, "hostname"));
    }
}

fn add(s: &Session) -> Result<()> {
    let (name, hostname) = (s.app()?, s.given.need("hostname"));
    let body = json!({ "hostname": hostname, "sni_endpoint": s.given.text("cert") });
    let what = format!("Adding {hostname} on {name}");
    let mut domain = s.doing(&what, |c| c.send("POST", &format!("/apps/{name}/domains"), &body))?;
    if !s.global.quiet {
        tell_records(&domain);
    }
    if s.given.is("wait") {
        domain = until_ready(s, &domain)?;
    }
    s.show(&domain, String::new);
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let domain = s.client.get(&path_of(s, s.given.need("hostname"))?)?;
    s.show(&domain, || {
        let fields = [
            ("CNAME", field(&domain, "cname").to_string()),
            ("Kind", field(&domain, "kind").into()),
            ("Status", field(&domain, "status").into()),
            ("Certificate", field(&domain, "acm_status").into()),
            ("Reason", field(&domain, "acm_status_reason").into()),
            ("SNI endpoint", field(&domain["sni_endpoint"], "name").into()),
            ("Created", field(&domain, "created_at").into()),
        ];
        format!("{}{}", heading(field(&domain, "hostname")), labelled(&fields))
    });
    Ok(())
}

fn update(s: &Session) -> Result<()> {
    let cert = s.given.text("cert").ok_or_else(|| Failure::usage("Say which certificate: --cert NAME."))?;
    let hostname = match s.given.text("hostname") {
        Some(hostname) => hostname.to_string(),
        None => {
            let domains = all(s)?;
            let own: Vec<&str> =
                items(&domains).iter().filter(|d| field(d, "kind") == "custom").map(|d| field(d, "hostname")).collect();
            match own.as_slice() {
                [one] => (*one).to_string(),
                [] => return Err(nothing("This app has no domain of its own.")),
                several => return Err(Failure::usage(format!("Say which: {}.", several.join(", ")))),
            }
        }
    };
    let path = path_of(s, &hostname)?;
    let what = format!("Updating {hostname} to use {cert}");
    let domain = s.doing(&what, |c| c.send("PATCH", &path, &json!({ "sni_endpoint": cert })))?;
    s.show(&domain, String::new);
    Ok(())
}

fn until_ready(s: &Session, domain: &Value) -> Result<Value> {
    let hostname = field(domain, "hostname");
    let path = path_of(s, hostname)?;
    let limit = Duration::from_secs(s.given.number("timeout")?.unwrap_or(600));
    let begun = Instant::now();
    s.doing(&format!("Waiting for {hostname}"), |c| {
        loop {
            let now = c.get(&path)?;
            let reason = field(&now, "acm_status_reason");
            let state = if field(&now, "acm_status").is_empty() { field(&now, "status") } else { field(&now, "acm_status") };
            match state {
                _ if is_ready(&now) => return Ok(now),
                "failed" => return Err(Failure::failed(format!("{hostname} failed. {reason}"))),
                status if begun.elapsed() > limit => {
                    return Err(Failure::unreachable(format!(
                        "{hostname} is still {status}. {reason}\n !    Go on waiting: tidemill domains:wait {hostname}"
                    )));
                }
                _ => std::thread::sleep(PAUSE),
            }
        }
    })
}

fn wait(s: &Session) -> Result<()> {
    let waiting: Vec<Value> = match s.given.text("hostname") {
        Some(hostname) => vec![s.client.get(&path_of(s, hostname)?)?],
        None => items(&all(s)?).iter().filter(|d| field(d, "kind") == "custom").cloned().collect(),
    };
    let ready = waiting.iter().map(|domain| until_ready(s, domain)).collect::<Result<Vec<_>>>()?;
    s.show(&Value::Array(ready), String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, hostname) = (s.app()?, s.given.need("hostname"));
    let path = path_of(s, hostname)?;
    let domain = s.doing(&format!("Removing {hostname} on {name}"), |c| c.delete(&path))?;
    s.show(&domain, String::new);
    Ok(())
}

fn clear(s: &Session) -> Result<()> {
    let (name, domains) = (s.app()?, all(s)?);
    let own: Vec<&str> =
        items(&domains).iter().filter(|d| field(d, "kind") == "custom").map(|d| field(d, "hostname")).collect();
    s.confirmed(&name, &format!("This removes from {name}: {}. The app and its own address stay.", own.join(", ")))?;
    let removed = s.doing(&format!("Removing all domains of {name}"), |c| {
        Ok(Value::Array(own.iter().map(|h| c.delete(&path_of(s, h)?)).collect::<Result<Vec<_>>>()?))
    })?;
    s.show(&removed, String::new);
    Ok(())
}
