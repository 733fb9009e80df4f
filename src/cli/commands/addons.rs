//! Add-ons.

use super::prelude::*;
use std::time::{Duration, Instant};

/// `addons`.
pub const TOPIC: Topic = Topic {
    name: "addons",
    about: "Databases and other services beside apps",
    verbs: &[
        there("addons", "List add-ons", list).aliases(&["addons:list"]).args(&[switch("all", "Of all apps").short('A')]),
        there("addons:create", "Make an add-on for the app", create)
            .args(&[
                need("plan", "SERVICE or SERVICE:PLAN"),
                value("name", "Its name"),
                value("as", "Name of its config vars"),
                switch("wait", "Wait until it is ready"),
                CONFIRM,
            ])
            .examples(&["addons:create postgres -a shop", "addons:create postgres:standard-0 --as ORDERS --wait -a shop"]),
        there("addons:info", "Show an add-on", info).args(&[ADDON]),
        there("addons:attach", "Let the app use an add-on of another", attach)
            .args(&[ADDON, value("as", "Name of its config vars"), CONFIRM])
            .examples(&["addons:attach postgresql-curved-12345 --as ORDERS -a reports"]),
        there("addons:detach", "End the use of an add-on by the app", detach)
            .args(&[need("attachment", "Name of the attachment")]),
        there("addons:upgrade", "Give an add-on another plan", upgrade)
            .aliases(&["addons:downgrade"])
            .args(&[ADDON, need("plan", "PLAN or SERVICE:PLAN")]),
        there("addons:rename", "Give an add-on another name", rename).args(&[ADDON, need("newname", "The new name")]),
        there("addons:destroy", "Destroy an add-on with its data", destroy).args(&[
            ADDON,
            CONFIRM,
            switch("force", "Even if other apps use it").short('f'),
        ]),
        there("addons:wait", "Wait until an add-on is ready", wait).args(&[ADDON, value("timeout", "Seconds [default: 600]")]),
        there("addons:services", "List what is offered", services),
        there("addons:plans", "List plans of a service", plans).args(&[need("service", "Its name")]),
    ],
};

const ADDON: crate::verb::Arg = need("addon", "Its name, or that of its attachment").live(Live::Addons);
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT_S: u64 = 600;

fn list(s: &Session) -> Result<()> {
    let path = if s.given.is("all") { "/addons".into() } else { s.path("/addons")? };
    let all = s.client.list(&path)?;
    s.show(&all, || match items(&all) {
        [] => "There are no add-ons. Make one with: tidemill addons:create SERVICE\n".into(),
        _ => table(&rows(&all, &["/name", "/plan/name", "/state", "/config_vars", "/app/name"])),
    });
    Ok(())
}

/// The add-on that is meant, by any of its names.
fn resolved(s: &Session) -> Result<Value> {
    let wanted = s.given.need("addon");
    let app = s.app().ok();
    let found = s.client.send("POST", "/actions/addons/resolve", &json!({ "addon": wanted, "app": app }));
    let found = match found {
        Err(failure) if failure.exit == 4 && app.is_some() => {
            s.client.send("POST", "/actions/addons/resolve", &json!({ "addon": wanted, "app": null }))?
        }
        other => other?,
    };
    match items(&found) {
        [one] => Ok(one.clone()),
        [] => Err(nothing(format!("Couldn't find the add-on {wanted}."))),
        several => {
            let names: Vec<&str> = several.iter().map(|a| field(a, "name")).collect();
            Err(Failure::usage(format!("{wanted} may be {}. Say which.", names.join(" or "))))
        }
    }
}

fn path_of(addon: &Value) -> Result<String> {
    Ok(format!("/apps/{}/addons/{}", encoded(field(&addon["app"], "name"))?, encoded(field(addon, "name"))?))
}

fn create(s: &Session) -> Result<()> {
    let (name, plan) = (s.app()?, s.given.need("plan"));
    let body = json!({
        "plan": { "name": plan }, "name": s.given.text("name"), "attachment": { "name": s.given.text("as") },
        "confirm": s.given.text("confirm"), "config": {},
    });
    let ended = |a: &Value| format!("{}, {}", field(a, "state"), field(a, "name"));
    let mut addon =
        s.doing_with(&format!("Creating {plan} on {name}"), |c| c.send("POST", &format!("/apps/{name}/addons"), &body), ended)?;
    if s.given.is("wait") {
        addon = until_ready(s, &addon)?;
    }
    s.show(&addon, || {
        let message = addon["provision_message"].as_str().map(|m| format!("{m}\n")).unwrap_or_default();
        let vars = items(&addon["config_vars"]).iter().map(text).collect::<Vec<_>>().join(", ");
        format!("{message}{} is {} as {vars}\n", field(&addon, "name"), field(&addon, "state"))
    });
    Ok(())
}

fn until_ready(s: &Session, addon: &Value) -> Result<Value> {
    let path = path_of(addon)?;
    let limit = Duration::from_secs(s.given.number("timeout")?.unwrap_or(LIMIT_S));
    let begun = Instant::now();
    s.doing(&format!("Waiting for {}", field(addon, "name")), |c| {
        loop {
            let now = c.get(&path)?;
            match field(&now, "state") {
                "provisioned" => return Ok(now),
                "provisioning" if begun.elapsed() <= limit => std::thread::sleep(PAUSE),
                "provisioning" => return Err(Failure::unreachable("It is not ready yet. Go on waiting: tidemill addons:wait")),
                state => return Err(Failure::failed(format!("It is {state}."))),
            }
        }
    })
}

fn wait(s: &Session) -> Result<()> {
    let ready = until_ready(s, &resolved(s)?)?;
    s.show(&ready, String::new);
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let addon = resolved(s)?;
    let uses = s.client.list(&format!("/addons/{}/addon-attachments", encoded(field(&addon, "id"))?))?;
    s.show(&addon, || {
        let uses: Vec<String> =
            items(&uses).iter().map(|u| format!("{}::{}", field(&u["app"], "name"), field(u, "name"))).collect();
        let fields = [
            ("Plan", field(&addon["plan"], "name").to_string()),
            ("State", field(&addon, "state").into()),
            ("Owning app", field(&addon["app"], "name").into()),
            ("Attachments", uses.join(", ")),
            ("Config vars", text(&addon["config_vars"])),
            ("Installed at", field(&addon, "created_at").into()),
        ];
        format!("{}{}", heading(field(&addon, "name")), labelled(&fields))
    });
    Ok(())
}

fn attach(s: &Session) -> Result<()> {
    let (name, wanted) = (s.app()?, s.given.need("addon"));
    let body = json!({
        "app": { "name": name }, "addon": { "name": wanted }, "name": s.given.text("as"), "confirm": s.given.text("confirm"),
    });
    let ended = |a: &Value| format!("done, as {}", field(a, "name"));
    let made =
        s.doing_with(&format!("Attaching {wanted} to {name}"), |c| c.send("POST", "/addon-attachments", &body), ended)?;
    s.show(&made, String::new);
    Ok(())
}

fn detach(s: &Session) -> Result<()> {
    let (name, wanted) = (s.app()?, s.given.need("attachment"));
    let found = s.client.get(&format!("/apps/{name}/addon-attachments/{}", encoded(wanted)?))?;
    let path = format!("/addon-attachments/{}", encoded(field(&found, "id"))?);
    let gone = s.doing(&format!("Detaching {wanted} from {name}"), |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}

fn upgrade(s: &Session) -> Result<()> {
    let (addon, plan) = (resolved(s)?, s.given.need("plan"));
    let plan = if plan.contains(':') { plan.to_string() } else { format!("{}:{plan}", field(&addon["addon_service"], "name")) };
    let path = path_of(&addon)?;
    let what = format!("Changing {} to {plan}", field(&addon, "name"));
    let changed = s.doing(&what, |c| c.send("PATCH", &path, &json!({ "plan": { "name": plan } })))?;
    s.show(&changed, String::new);
    Ok(())
}

fn rename(s: &Session) -> Result<()> {
    let (addon, new) = (resolved(s)?, s.given.need("newname"));
    let path = path_of(&addon)?;
    let body = json!({ "name": new, "plan": { "name": addon["plan"]["name"] } });
    let changed = s.doing(&format!("Renaming {} to {new}", field(&addon, "name")), |c| c.send("PATCH", &path, &body))?;
    s.show(&changed, String::new);
    Ok(())
}

fn destroy(s: &Session) -> Result<()> {
    let addon = resolved(s)?;
    let (name, app) = (field(&addon, "name"), field(&addon["app"], "name"));
    s.confirmed(app, &format!("This destroys {name} of {app} with its data. The app stays."))?;
    let (path, force) = (path_of(&addon)?, s.given.is("force"));
    let gone = s.doing(&format!("Destroying {name} on {app}"), |c| {
        Ok(c.request("DELETE", &path, &[], Some(&json!({ "force": force })))?.value)
    })?;
    s.show(&gone, String::new);
    Ok(())
}

fn services(s: &Session) -> Result<()> {
    let all = s.client.list("/addon-services")?;
    s.show(&all, || match items(&all) {
        [] => "This server offers no add-ons.\n".into(),
        _ => table(&rows(&all, &["/name", "/human_name", "/state"])),
    });
    Ok(())
}

fn plans(s: &Session) -> Result<()> {
    let all = s.client.list(&format!("/addon-services/{}/plans", encoded(s.given.need("service"))?))?;
    s.show(&all, || table(&rows(&all, &["/name", "/human_name", "/description"])));
    Ok(())
}
