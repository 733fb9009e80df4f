//! Pipelines: apps in stages.

use super::{prelude::*, promote};

/// `pipelines`.
pub const TOPIC: Topic = Topic {
    name: "pipelines",
    about: "Apps in stages, and promoting from one to the next",
    verbs: &[
        there("pipelines", "List pipelines", list).aliases(&["pipelines:list"]),
        there("pipelines:create", "Make a pipeline with the app in it", create)
            .args(&[maybe("name", "Its name; else that of the app"), STAGE, value("team", "Team that owns it").short('t')])
            .examples(&["pipelines:create shop -a shop-staging -s staging"]),
        there("pipelines:info", "Show a pipeline", info).args(&[PIPELINE]),
        there("pipelines:add", "Add the app to a pipeline", add)
            .args(&[PIPELINE, STAGE])
            .examples(&["pipelines:add shop -a shop -s production"]),
        there("pipelines:update", "Put the app into another stage", update).args(&[STAGE]),
        there("pipelines:remove", "Take the app out of its pipeline", remove),
        there("pipelines:rename", "Give a pipeline another name", rename).args(&[PIPELINE, need("newname", "The new name")]),
        there("pipelines:transfer", "Hand a pipeline over to another person or team", transfer)
            .args(&[
                some(
                    "names",
                    "The new owner: e-mail, or name of a team; before it the pipeline, if --pipeline does not say it",
                ),
                value("pipeline", "The pipeline").short('p').live(Live::Pipelines),
                CONFIRM,
            ])
            .examples(&["pipelines:transfer acme -p shop", "pipelines:transfer shop bo@example.com"]),
        there("pipelines:destroy", "Destroy a pipeline; its apps stay", destroy).args(&[PIPELINE, CONFIRM]),
        there("pipelines:promote", "Release the slug of the app in the next stage", promote::promote)
            .args(&[value("to", "Only to these apps, with commas between").short('t').live(Live::Apps)])
            .examples(&["pipelines:promote -a shop-staging", "pipelines:promote --to shop,shop-eu -a shop-staging"]),
        there("pipelines:diff", "Compare the code of the app with that of the next stage", promote::diff),
    ],
};

const PIPELINE: crate::verb::Arg = need("pipeline", "Its name").live(Live::Pipelines);
const STAGE: crate::verb::Arg =
    value("stage", "Stage of the app").short('s').words(&["development", "review", "test", "staging", "production"]);

fn list(s: &Session) -> Result<()> {
    let all = s.client.list("/pipelines")?;
    s.show(&all, || match items(&all) {
        [] => "There are no pipelines. Make one with: tidemill pipelines:create NAME -a APP -s STAGE\n".into(),
        all => all.iter().map(|p| format!("{}\n", field(p, "name"))).collect(),
    });
    Ok(())
}

/// A pipeline by its name or id.
fn found(s: &Session) -> Result<Value> {
    found_by(s, s.given.need("pipeline"))
}

fn found_by(s: &Session, wanted: &str) -> Result<Value> {
    let all = s.client.list("/pipelines")?;
    let hit = items(&all).iter().find(|p| field(p, "name") == wanted || field(p, "id") == wanted);
    hit.cloned().ok_or_else(|| {
        let meant = crate::nearest::did_you_mean(wanted, items(&all).iter().map(|p| field(p, "name")));
        nothing(format!("Couldn't find the pipeline {wanted}.{meant}"))
    })
}

/// Id for paths and bodies.
fn id(value: &Value) -> &str {
    field(value, "id")
}

/// The stage told, or guessed from the app's name as the official command line guesses it.
fn stage(s: &Session, app: &str) -> String {
    let guessed = match app {
        app if app.ends_with("-staging") || app.ends_with("-stg") => "staging",
        app if app.ends_with("-dev") || app.ends_with("-development") => "development",
        _ => "production",
    };
    s.given.text("stage").unwrap_or(guessed).to_string()
}

fn create(s: &Session) -> Result<()> {
    let app = s.app()?;
    let name = s.given.text("name").unwrap_or(&app).to_string();
    let stage = stage(s, &app);
    let owner = match s.given.text("team") {
        Some(team) => json!({ "id": s.client.get(&format!("/teams/{}", encoded(team)?))?["id"], "type": "team" }),
        None => json!({ "id": s.client.get("/account")?["id"], "type": "user" }),
    };
    let found = s.client.get(&format!("/apps/{app}"))?;
    let pipeline = s.doing(&format!("Creating {name} pipeline"), |c| {
        c.send("POST", "/pipelines", &json!({ "name": name, "owner": owner, "generation": { "name": "cedar" } }))
    })?;
    couple(s, &found, &pipeline, &stage)?;
    s.show(&pipeline, String::new);
    Ok(())
}

fn couple(s: &Session, app: &Value, pipeline: &Value, stage: &str) -> Result<Value> {
    let body = json!({ "app": app["id"], "pipeline": pipeline["id"], "stage": stage });
    let what = format!("Adding {} to {} pipeline as {stage}", field(app, "name"), field(pipeline, "name"));
    s.doing(&what, |c| c.send("POST", "/pipeline-couplings", &body))
}

/// Couplings of a pipeline with full apps: `(coupling, app)`.
pub fn couplings(s: &Session, pipeline: &str) -> Result<Vec<(Value, Value)>> {
    let couplings = s.client.list(&format!("/pipelines/{}/pipeline-couplings", encoded(pipeline)?))?;
    let ids: Vec<&Value> = items(&couplings).iter().map(|c| &c["app"]["id"]).collect();
    let apps = match ids.is_empty() {
        true => json!([]),
        false => s.client.send("POST", "/filters/apps", &json!({ "in": { "id": ids } }))?,
    };
    let app_of = |c: &Value| items(&apps).iter().find(|a| a["id"] == c["app"]["id"]).cloned().unwrap_or_default();
    Ok(items(&couplings).iter().map(|c| (c.clone(), app_of(c))).collect())
}

fn info(s: &Session) -> Result<()> {
    let pipeline = found(s)?;
    let all = couplings(s, id(&pipeline))?;
    let shown: Vec<Value> = all.iter().map(|(c, app)| json!({ "stage": c["stage"], "app": app })).collect();
    let mut result = pipeline.clone();
    result["apps"] = Value::Array(shown);
    s.show(&result, || {
        let order = ["test", "review", "development", "staging", "production"];
        let mut lines: Vec<(usize, Vec<String>)> = all
            .iter()
            .map(|(c, app)| {
                let stage = field(c, "stage");
                let place = order.iter().position(|o| *o == stage).unwrap_or(order.len());
                (place, vec![field(app, "name").to_string(), stage.into(), field(&app["owner"], "email").into()])
            })
            .collect();
        lines.sort();
        format!("{}{}", heading(field(&pipeline, "name")), table(&lines.into_iter().map(|(_, l)| l).collect::<Vec<_>>()))
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let name = s.app()?;
    let (pipeline, app) = (found(s)?, s.client.get(&format!("/apps/{name}"))?);
    let coupling = couple(s, &app, &pipeline, &stage(s, &name))?;
    s.show(&coupling, String::new);
    Ok(())
}

/// The app's coupling.
pub fn coupling(s: &Session) -> Result<Value> {
    s.client.get(&s.path("/pipeline-couplings")?).map_err(|failure| match failure.exit {
        4 => Failure { text: format!("{}\n !    Is the app in a pipeline? See: tidemill pipelines", failure.text), ..failure },
        _ => failure,
    })
}

fn update(s: &Session) -> Result<()> {
    let (name, coupling) = (s.app()?, coupling(s)?);
    let stage = s.given.text("stage").ok_or_else(|| Failure::usage("Say which: --stage STAGE."))?;
    let path = format!("/pipeline-couplings/{}", encoded(id(&coupling))?);
    let changed = s.doing(&format!("Changing {name} to {stage}"), |c| c.send("PATCH", &path, &json!({ "stage": stage })))?;
    s.show(&changed, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, coupling) = (s.app()?, coupling(s)?);
    let path = format!("/pipeline-couplings/{}", encoded(id(&coupling))?);
    let removed = s.doing(&format!("Removing {name} from its pipeline"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}

fn rename(s: &Session) -> Result<()> {
    let (pipeline, new) = (found(s)?, s.given.need("newname"));
    let path = format!("/pipelines/{}", encoded(id(&pipeline))?);
    let what = format!("Renaming {} pipeline to {new}", field(&pipeline, "name"));
    let changed = s.doing(&what, |c| c.send("PATCH", &path, &json!({ "name": new })))?;
    s.show(&changed, String::new);
    Ok(())
}

fn transfer(s: &Session) -> Result<()> {
    let names = s.given.all("names");
    // The official command line has the owner alone, and the pipeline as a flag.
    let (pipeline, to) = match (s.given.text("pipeline"), names.as_slice()) {
        (Some(pipeline), [owner]) => (pipeline, owner),
        (None, [pipeline, owner]) => (pipeline.as_str(), owner),
        _ => return Err(Failure::usage("Say which and whose: tidemill pipelines:transfer OWNER -p PIPELINE.")),
    };
    let pipeline = found_by(s, pipeline)?;
    if let Some(said) = s.given.text("confirm").filter(|said| *said != field(&pipeline, "name")) {
        return Err(Failure::usage(format!("{said} is not the pipeline {}; nothing was changed.", field(&pipeline, "name"))));
    }
    let (kind, owner) = match to.contains('@') {
        true => ("user", s.client.get(&format!("/users/{}", encoded(to)?))?),
        false => ("team", s.client.get(&format!("/teams/{}", encoded(to)?))?),
    };
    let body = json!({ "pipeline": { "id": pipeline["id"] }, "new_owner": { "id": owner["id"], "type": kind } });
    let what = format!("Transferring {} pipeline to {to}", field(&pipeline, "name"));
    let done = s.doing(&what, |c| c.send("POST", "/pipeline-transfers", &body))?;
    s.show(&done, String::new);
    Ok(())
}

fn destroy(s: &Session) -> Result<()> {
    let pipeline = found(s)?;
    let name = field(&pipeline, "name");
    s.confirmed(name, &format!("This destroys the pipeline {name}. Its apps stay."))?;
    let path = format!("/pipelines/{}", encoded(id(&pipeline))?);
    let gone = s.doing(&format!("Destroying {name} pipeline"), |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}
