//! Certificates of an app: own ones, and those that are managed.

use super::prelude::*;

/// `certs`.
pub const TOPIC: Topic = Topic {
    name: "certs",
    about: "Certificates of an app",
    verbs: &[
        there("certs", "List certificates", list).aliases(&["certs:list"]),
        there("certs:add", "Add a certificate of your own", add)
            .args(&[CRT, KEY, value("domain", "Answer with it for this domain")])
            .examples(&["certs:add fullchain.pem key.pem -a shop"]),
        there("certs:update", "Put another certificate in the place of one", update).args(&[CRT, KEY, NAME]),
        there("certs:info", "Show a certificate", info).args(&[NAME]),
        there("certs:remove", "Remove a certificate", remove).args(&[NAME, CONFIRM]),
        there("certs:auto", "Show the state of managed certificates", auto),
        there("certs:auto:enable", "Let the platform get and renew certificates", |s| switch_auto(s, true)),
        there("certs:auto:disable", "Do not get and renew certificates any more", |s| switch_auto(s, false)).args(&[CONFIRM]),
        there("certs:auto:refresh", "Look again now, after DNS was mended", refresh),
    ],
};

const CRT: crate::verb::Arg = need("crt", "File of the certificate and its chain (PEM)");
const KEY: crate::verb::Arg = need("key", "File of the private key (PEM)");
const NAME: crate::verb::Arg = value("name", "Name of the certificate; without it the only one");

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| Failure::usage(format!("{file}: {e}")))
}

fn pair(s: &Session) -> Result<Value> {
    Ok(json!({ "certificate_chain": read(s.given.need("crt"))?, "private_key": read(s.given.need("key"))? }))
}

fn all(s: &Session) -> Result<Value> {
    s.client.list(&s.path("/sni-endpoints")?)
}

/// The certificate of `--name`, or the only one.
fn wanted(s: &Session) -> Result<Value> {
    let all = all(s)?;
    let names: Vec<&str> = items(&all).iter().map(|c| field(c, "name")).collect();
    match (s.given.text("name"), names.as_slice()) {
        (Some(name), _) => items(&all)
            .iter()
            .find(|c| field(c, "name") == name || field(c, "display_name") == name)
            .cloned()
            .ok_or_else(|| {
                nothing(format!("There is no certificate {name}.{}", crate::nearest::did_you_mean(name, names.iter().copied())))
            }),
        (None, [_]) => Ok(all[0].clone()),
        (None, []) => Err(nothing(format!("{} has no certificates. Add one with: tidemill certs:add CRT KEY", s.app()?))),
        (None, several) => Err(Failure::usage(format!("Say which: --name {}.", several.join(" or --name ")))),
    }
}

fn path_of(s: &Session, endpoint: &Value) -> Result<String> {
    s.path(&format!("/sni-endpoints/{}", encoded(field(endpoint, "name"))?))
}

fn list(s: &Session) -> Result<()> {
    let all = all(s)?;
    s.show(&all, || match items(&all) {
        [] => "There are no certificates. Add one with: tidemill certs:add CRT KEY, or: tidemill certs:auto:enable\n".into(),
        certs => {
            let mut lines = vec![["Name", "Common Name(s)", "Expires", "Type"].map(String::from).to_vec()];
            lines.extend(certs.iter().map(|c| {
                let cert = &c["ssl_cert"];
                let kind = if cert["acm"] == true { "ACM" } else { "SNI" };
                vec![field(c, "name").into(), text(&cert["cert_domains"]), field(cert, "expires_at").into(), kind.into()]
            }));
            table(&lines)
        }
    });
    Ok(())
}

fn describe(endpoint: &Value) -> String {
    let cert = &endpoint["ssl_cert"];
    let trust = if cert["self_signed?"] == true {
        "self-signed"
    } else if cert["ca_signed?"] == true {
        "by an authority"
    } else {
        ""
    };
    let fields = [
        ("Common Name(s)", text(&cert["cert_domains"])),
        ("Expires At", field(cert, "expires_at").to_string()),
        ("Issuer", field(cert, "issuer").into()),
        ("Starts At", field(cert, "starts_at").into()),
        ("Subject", field(cert, "subject").into()),
        ("Signed", trust.into()),
    ];
    format!("{}{}", heading(field(endpoint, "name")), labelled(&fields))
}

fn add(s: &Session) -> Result<()> {
    let (name, body) = (s.app()?, pair(s)?);
    let made = s.doing(&format!("Adding SSL certificate to {name}"), |c| {
        c.send("POST", &format!("/apps/{name}/sni-endpoints"), &body)
    })?;
    if let Some(domain) = s.given.text("domain") {
        let path = s.path(&format!("/domains/{}", encoded(domain)?))?;
        s.doing(&format!("Using it for {domain}"), |c| c.send("PATCH", &path, &json!({ "sni_endpoint": made["name"] })))?;
    }
    s.show(&made, || describe(&made));
    Ok(())
}

fn update(s: &Session) -> Result<()> {
    let (body, endpoint) = (pair(s)?, wanted(s)?);
    let path = path_of(s, &endpoint)?;
    let changed =
        s.doing(&format!("Updating SSL certificate {}", field(&endpoint, "name")), |c| c.send("PATCH", &path, &body))?;
    s.show(&changed, || describe(&changed));
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let endpoint = wanted(s)?;
    s.show(&endpoint, || describe(&endpoint));
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, endpoint) = (s.app()?, wanted(s)?);
    let cert = field(&endpoint, "name");
    s.confirmed(
        &name,
        &format!("This removes the certificate {cert} from {name}; its domains may stop answering over HTTPS."),
    )?;
    let path = path_of(s, &endpoint)?;
    let removed = s.doing(&format!("Removing SSL certificate {cert} from {name}"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}

fn auto(s: &Session) -> Result<()> {
    let app = s.client.get(&s.path("")?)?;
    let domains = s.client.list(&s.path("/domains")?)?;
    let own: Vec<&Value> = items(&domains).iter().filter(|d| field(d, "kind") == "custom").collect();
    let result = json!({ "acm": app["acm"], "domains": own });
    s.show(&result, || {
        let state = if app["acm"] == true { "enabled" } else { "disabled" };
        let mut out = heading(&format!("Automatic Certificate Management is {state} on {}", field(&app, "name")));
        let row = |d: &&Value| {
            vec![field(d, "hostname").to_string(), field(d, "acm_status").into(), field(d, "acm_status_reason").into()]
        };
        out.push_str(&table(&own.iter().map(row).collect::<Vec<_>>()));
        out
    });
    Ok(())
}

fn switch_auto(s: &Session, on: bool) -> Result<()> {
    let name = s.app()?;
    let path = format!("/apps/{name}/acm");
    let answer = if on {
        s.doing(&format!("Enabling Automatic Certificate Management on {name}"), |c| c.send("POST", &path, &json!({})))?
    } else {
        s.confirmed(&name, &format!("This ends managed certificates of {name}; its domains may stop answering over HTTPS."))?;
        s.doing(&format!("Disabling Automatic Certificate Management on {name}"), |c| c.delete(&path))?
    };
    s.show(&answer, String::new);
    Ok(())
}

fn refresh(s: &Session) -> Result<()> {
    let name = s.app()?;
    let body = json!({ "acm_refresh": true });
    let answer = s.doing(&format!("Refreshing Automatic Certificate Management on {name}"), |c| {
        c.send("PATCH", &format!("/apps/{name}/acm"), &body)
    })?;
    s.show(&answer, String::new);
    Ok(())
}
