//! Promotion: the same slug in the next stage, without a build.

use super::{
    pipelines::{coupling, couplings},
    prelude::*,
};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);
/// With release phases that may run for an hour.
const LIMIT: Duration = Duration::from_secs(3700);

fn next_stage(stage: &str) -> Option<&'static str> {
    match stage {
        "review" | "development" => Some("staging"),
        "staging" => Some("production"),
        _ => None,
    }
}

/// The app's coupling, its pipeline's couplings, and those of the next stage.
fn neighbours(s: &Session) -> Result<(Value, Vec<(Value, Value)>)> {
    let own = coupling(s)?;
    let all = couplings(s, field(&own["pipeline"], "id"))?;
    Ok((own, all))
}

fn in_next_stage(own: &Value, all: Vec<(Value, Value)>) -> Result<Vec<Value>> {
    let stage = field(own, "stage");
    let next = next_stage(stage).ok_or_else(|| Failure::usage(format!("There is no stage after {stage}.")))?;
    let apps: Vec<Value> = all.into_iter().filter(|(c, _)| field(c, "stage") == next).map(|(_, app)| app).collect();
    if apps.is_empty() {
        return Err(nothing(format!(
            "There is no app in the stage {next}. Add one with: tidemill pipelines:add PIPELINE -a APP -s {next}"
        )));
    }
    Ok(apps)
}

/// `pipelines:promote`.
pub fn promote(s: &Session) -> Result<()> {
    let (own, all) = neighbours(s)?;
    let targets: Vec<Value> = match s.given.text("to") {
        Some(names) => {
            let find = |name: &str| {
                all.iter().map(|(_, app)| app).find(|a| field(a, "name") == name || field(a, "id") == name).cloned()
            };
            let found = names.split(',').map(str::trim).filter(|n| !n.is_empty());
            found.map(|n| find(n).ok_or_else(|| nothing(format!("{n} is not in the pipeline.")))).collect::<Result<_>>()?
        }
        None => in_next_stage(&own, all)?,
    };
    let body = json!({
        "pipeline": { "id": own["pipeline"]["id"] },
        "source": { "app": { "id": own["app"]["id"] } },
        "targets": targets.iter().map(|t| json!({ "app": { "id": t["id"] } })).collect::<Vec<_>>(),
    });
    let names: Vec<&str> = targets.iter().map(|t| field(t, "name")).collect();
    let what = format!("Promoting {} to {}", s.app()?, names.join(", "));
    let begun = Instant::now();
    let ends = s.doing(&what, |c| {
        let promotion = c.send("POST", "/pipeline-promotions", &body)?;
        let path = format!("/pipeline-promotions/{}/promotion-targets", encoded(field(&promotion, "id"))?);
        loop {
            let ends = c.list(&path)?;
            if items(&ends).iter().all(|t| field(t, "status") != "pending") {
                return Ok(ends);
            }
            if begun.elapsed() > LIMIT {
                return Err(Failure::unreachable("The promotion is not done yet; it goes on without you."));
            }
            std::thread::sleep(PAUSE);
        }
    })?;
    let name = |t: &Value| targets.iter().find(|a| a["id"] == t["app"]["id"]).map_or("", |a| field(a, "name")).to_string();
    s.show(&ends, || {
        let row = |t: &Value| vec![name(t), field(t, "status").to_string(), field(t, "error_message").into()];
        table(&items(&ends).iter().map(row).collect::<Vec<_>>())
    });
    match items(&ends).iter().find(|t| field(t, "status") == "failed") {
        Some(t) => Err(Failure::failed(format!("{} was not promoted. {}", name(t), field(t, "error_message")))),
        None => Ok(()),
    }
}

/// Commit of the code that an app runs.
fn commit(s: &Session, app: &str) -> Result<Option<String>> {
    let path = format!("/apps/{}", encoded(app)?);
    let releases = s.client.part(&format!("{path}/releases"), "version ..; max=10, order=desc")?;
    let slug = items(&releases).iter().find_map(|r| r["slug"]["id"].as_str());
    let Some(slug) = slug else { return Ok(None) };
    Ok(s.client.get(&format!("{path}/slugs/{}", encoded(slug)?))?["commit"].as_str().map(String::from))
}

/// `pipelines:diff`.
pub fn diff(s: &Session) -> Result<()> {
    let (own, all) = neighbours(s)?;
    let app = s.app()?;
    let here = commit(s, &app)?;
    let mut rows = Vec::new();
    for target in in_next_stage(&own, all)? {
        let name = field(&target, "name").to_string();
        let there = commit(s, &name)?;
        rows.push(json!({ "app": app, "commit": here, "target": name, "target_commit": there, "same": here == there }));
    }
    s.show(&Value::Array(rows.clone()), || {
        let short = |v: &Value| v.as_str().map_or("no code".to_string(), |c| c.chars().take(8).collect());
        let line = |r: &Value| match r["same"] == true {
            true => format!("{app} and {} run the same code, {}\n", field(r, "target"), short(&r["commit"])),
            false => format!(
                "{app} runs {}, {} runs {}: git log {}..{}\n",
                short(&r["commit"]),
                field(r, "target"),
                short(&r["target_commit"]),
                short(&r["target_commit"]),
                short(&r["commit"]),
            ),
        };
        rows.iter().map(line).collect()
    });
    Ok(())
}
