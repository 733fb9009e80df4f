//! App setups as durable work. The row has the next step; each may be run twice.
//!
//! ```text
//! configure (source, app.json, config vars) -> build -> scale -> postdeploy -> succeeded
//! ```

mod manifest;

use crate::{Engine, promotions};
use domain::{
    BuildId, BuildStatus, Dyno, DynoId, EventBody, Origin, ReleaseId, Setup,
    setup::{POSTDEPLOY, Postdeploy, SetupStatus, Step},
};
use manifest::{Manifest, Var};
use service::{AppChange, Ctx, Error, FormationChange, NewBuild, NewDyno, Quantity};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
};
use store::{ReadRows, StoreError, Tx, tables};
use uuid::Uuid;

/// Of what a script says, so much is kept.
const OUTPUT_BYTES_KEPT: usize = 16 << 10;

/// Why a setup failed, and what is wrong with its `app.json`.
struct Failure(String, Vec<String>);

impl<E: Into<Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Self(e.into().public, Vec::new())
    }
}

fn failed(text: impl Into<String>) -> Failure {
    Failure(text.into(), Vec::new())
}

/// Goes on with what a daemon before this one did not finish.
pub fn take_up(engine: &Engine) -> Result<(), StoreError> {
    for setup in engine.shared.parts.store.scan(&tables::SETUPS, &())? {
        if setup.status == SetupStatus::Pending {
            tokio::spawn(run(engine.clone(), setup.id));
        }
    }
    Ok(())
}

/// Takes steps until the setup is over.
pub async fn run(engine: Engine, id: Uuid) {
    loop {
        let setup = match engine.shared.parts.store.get(&tables::SETUPS, &id) {
            Ok(Some(setup)) if setup.status == SetupStatus::Pending && !engine.is_closing() => setup,
            Ok(_) => return,
            Err(e) => {
                tracing::error!(error = %e, setup = %id, "engine.setup_unreadable");
                return;
            }
        };
        let taken = step(&engine, &setup).await;
        if engine.is_closing() && taken.is_err() {
            return; // the next daemon takes the step again
        }
        let written = change(&engine, id, move |row| match taken {
            Ok(Some(next)) => row.step = next,
            Ok(None) => row.status = SetupStatus::Succeeded,
            Err(Failure(text, errors)) => {
                row.status = SetupStatus::Failed;
                row.failure = Some(text);
                row.manifest_errors = errors;
            }
        });
        if let Err(e) = written.await {
            tracing::error!(error = %e, setup = %id, "engine.setup_not_recorded: the next start goes on with it");
            return;
        }
    }
}

async fn change(engine: &Engine, id: Uuid, work: impl FnOnce(&mut Setup) + Send + 'static) -> Result<(), StoreError> {
    let now = engine.shared.parts.clock.now();
    let work = move |tx: &mut Tx| -> Result<(), StoreError> {
        let Some(mut row) = tx.get(&tables::SETUPS, &id)? else { return Ok(()) };
        work(&mut row);
        row.updated_at = now;
        tx.put(&tables::SETUPS, &id, &row)?;
        tx.event(now, Some(row.app), Origin::default(), EventBody::SetupChanged { setup: id })?;
        Ok(())
    };
    engine.shared.parts.store.commit(work).await
}

/// One step; the next one, or `None` when that was the last.
async fn step(engine: &Engine, setup: &Setup) -> Result<Option<Step>, Failure> {
    let parts = &engine.shared.parts;
    let ctx = Ctx::of(parts.service.account(setup.user)?, parts.clock.now());
    let app = setup.app.to_string();
    match setup.step {
        Step::Configure => configure(engine, setup, &ctx).await.map(|()| Some(Step::Build)),
        Step::Build => build(engine, setup, &ctx).await.map(|()| Some(Step::Scale)),
        Step::Scale => {
            let changes: Vec<_> = setup.plan.formation.iter().cloned().map(line).collect();
            if !changes.is_empty() {
                parts.service.scale(&ctx, &app, changes).await?;
            }
            Ok(setup.plan.postdeploy.is_some().then_some(Step::Postdeploy))
        }
        Step::Postdeploy => script(engine, setup, &ctx).await.map(|()| None),
    }
}

fn line((ptype, quantity, size): (String, Option<u32>, Option<String>)) -> FormationChange {
    FormationChange { ptype, quantity: quantity.map(Quantity::Exactly), size }
}

/// The archive, and whether it is ours to remove.
async fn source(engine: &Engine, setup: &Setup) -> Result<(PathBuf, bool), Failure> {
    let parts = &engine.shared.parts;
    if let Some(own) = parts.service.own_source(&setup.source.url) {
        return Ok((own, false));
    }
    let target = parts.service.upload_path(setup.id.into());
    let (fetch, url, file) = (parts.builder.fetch.clone(), setup.source.url.clone(), target.clone());
    let fetched = tokio::task::spawn_blocking(move || fetch(&url, &file)).await;
    let fetched = fetched.map_err(|e| failed(e.to_string()))?;
    fetched.map_err(|e| match setup.source.url.contains("/sources/blob/") {
        // Uploads do not outlive the daemon, and are then not found under their own address.
        true => failed("The uploaded source is gone, as after a restart of the platform; upload it and ask again."),
        false => failed(format!("The source could not be fetched: {e}")),
    })?;
    Ok((target, true))
}

async fn configure(engine: &Engine, setup: &Setup, ctx: &Ctx) -> Result<(), Failure> {
    let parts = &engine.shared.parts;
    let (archive, mine) = source(engine, setup).await?;
    let read = tokio::task::spawn_blocking(move || {
        let content = File::open(&archive)
            .map_err(|e| e.to_string())
            .and_then(|file| builder::read_file(file, "app.json", manifest::BYTES_MAX).map_err(|e| e.to_string()));
        if mine {
            let _ = fs::remove_file(&archive); // the build fetches its own
        }
        content
    });
    let content = read.await.map_err(|e| failed(e.to_string()))?.map_err(failed)?;
    let missing = || Failure("app.json not found".into(), vec!["the source has no app.json at its root".into()]);
    let invalid = |errors: Vec<String>| Failure("invalid app.json".into(), errors);
    let Manifest { env, buildpacks, addons, stack, plan } = manifest::parse(&content.ok_or_else(missing)?).map_err(invalid)?;
    if !addons.is_empty() {
        return Err(invalid(addons.iter().map(|plan| format!("add-on {plan} is not offered here")).collect()));
    }
    let app = setup.app.to_string();
    let before = parts.service.config(ctx, &app)?;
    let vars = vars(env, service::read_setup_env(&parts.sealer, setup)?, &before).map_err(invalid)?;
    let packs = setup.buildpacks.clone().unwrap_or(buildpacks);
    let buildpacks = (!packs.is_empty()).then_some(packs);
    if buildpacks.is_some() || stack.is_some() {
        let known = parts.service.stacks();
        if let Some(stack) = stack.iter().find(|stack| !known.contains(stack)) {
            return Err(invalid(vec![format!("stack {stack} is not available; there is {}", known.join(", "))]));
        }
        parts.service.update_app(ctx, &app, AppChange { stack, buildpacks, ..AppChange::default() }).await?;
    }
    if !vars.is_empty() {
        parts.service.change_config(ctx, &app, vars).await?;
    }
    change(engine, setup.id, move |row| row.plan = plan).await?;
    Ok(())
}

/// What is to be set. What a try before this one made up stays.
fn vars(
    wanted: BTreeMap<String, Var>,
    given: BTreeMap<String, String>,
    before: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Option<String>>, Vec<String>> {
    let mut set: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut errors = Vec::new();
    for (key, var) in wanted.into_iter().filter(|(key, _)| !given.contains_key(key)) {
        match var {
            Var::Value(value) => {
                set.insert(key, Some(value));
            }
            Var::Secret if before.contains_key(&key) => {}
            Var::Secret => {
                let secret = Uuid::new_v4().simple().to_string() + &Uuid::new_v4().simple().to_string();
                set.insert(key, Some(secret));
            }
            Var::Required => errors.push(format!("config var {key} is required")),
            Var::Optional => {}
        }
    }
    set.extend(given.into_iter().map(|(key, value)| (key, Some(value))));
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

/// The build that a daemon before this one asked for, killed before it could note that.
fn build_of(engine: &Engine, setup: &Setup) -> Result<Option<BuildId>, StoreError> {
    let store = &engine.shared.parts.store;
    for id in store.scan(&tables::BUILD_BY_APP, &setup.app)? {
        if store.get(&tables::BUILDS, &id)?.is_some_and(|row| row.user == setup.user && row.source == setup.source) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The dyno of the script, as [`build_of`].
fn script_of(engine: &Engine, setup: &Setup) -> Result<Option<DynoId>, StoreError> {
    let store = &engine.shared.parts.store;
    for id in store.scan(&tables::DYNO_BY_APP, &setup.app)? {
        if store.get(&tables::DYNOS, &id)?.is_some_and(|row| row.ptype == POSTDEPLOY) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn verdict(end: &Postdeploy) -> Result<(), Failure> {
    match end.exit_code {
        0 => Ok(()),
        code => Err(failed(format!("The postdeploy script ended with the exit code {code}."))),
    }
}

async fn build(engine: &Engine, setup: &Setup, ctx: &Ctx) -> Result<(), Failure> {
    let parts = &engine.shared.parts;
    let id = match setup.build {
        Some(id) => id,
        None => {
            let new = NewBuild { source: setup.source.clone(), ..NewBuild::default() };
            let id = match build_of(engine, setup)? {
                Some(id) => id,
                None => parts.service.create_build(ctx, &setup.app.to_string(), new).await?.id,
            };
            change(engine, setup.id, move |row| row.build = Some(id)).await?;
            id
        }
    };
    let mut committed = parts.store.committed();
    let release: ReleaseId = loop {
        committed.mark_unchanged();
        let row = parts.store.get(&tables::BUILDS, &id)?.ok_or_else(|| failed("The app was destroyed during its setup."))?;
        match (row.status, row.release) {
            (BuildStatus::Succeeded, Some(release)) => break release,
            (BuildStatus::Pending, _) if committed.changed().await.is_ok() => {}
            _ => return Err(failed(format!("Build failed: {}", row.failure.unwrap_or_default()))),
        }
    };
    let gone = || failed("The app was destroyed during its setup.");
    let (app, version) = parts.store.get(&tables::RELEASE_BY_ID, &release)?.ok_or_else(gone)?;
    promotions::phase_over(engine, app, version).await?;
    Ok(())
}

/// Runs the script and waits for its end.
async fn script(engine: &Engine, setup: &Setup, ctx: &Ctx) -> Result<(), Failure> {
    let parts = &engine.shared.parts;
    if let Some(end) = &setup.postdeploy {
        return verdict(end); // it ran already, and is not run twice
    }
    let dyno = match (setup.dyno, &setup.plan.postdeploy) {
        (Some(dyno), _) => dyno,
        (None, None) => return Ok(()),
        (None, Some(command)) => {
            let new = NewDyno { command: command.clone(), ptype: Some(POSTDEPLOY.into()), ..NewDyno::default() };
            let dyno = match script_of(engine, setup)? {
                Some(dyno) => dyno,
                None => parts.service.run_dyno(ctx, &setup.app.to_string(), new).await?.dyno.id,
            };
            change(engine, setup.id, move |row| row.dyno = Some(dyno)).await?;
            dyno
        }
    };
    let mut committed = parts.store.committed();
    loop {
        committed.mark_unchanged();
        let there = parts.store.get(&tables::DYNOS, &dyno)?.is_some();
        let row = parts.store.get(&tables::SETUPS, &setup.id)?;
        match row.and_then(|row| row.postdeploy) {
            Some(end) => return verdict(&end),
            None if !there => return Err(failed("The postdeploy script was cut off, as by a restart of the platform.")),
            None if committed.changed().await.is_err() => return Err(failed("The platform is shutting down.")),
            None => {}
        }
    }
}

/// Keeps how a script ended, before its dyno's row goes.
pub async fn script_ended(engine: &Engine, dyno: &Dyno, exit_code: i32) {
    let parts = &engine.shared.parts;
    parts.outputs.close(dyno.id.0);
    let stored = parts.outputs.read(dyno.id.0);
    let (mut output, mut offset) = (Vec::new(), 0);
    while let Ok(Some(piece)) = stored.next(offset).await {
        offset += piece.len() as u64;
        output.extend_from_slice(&piece);
        output.drain(..output.len().saturating_sub(OUTPUT_BYTES_KEPT));
    }
    parts.outputs.remove(dyno.id.0);
    let output = String::from_utf8_lossy(&output).into_owned();
    let all = parts.store.scan(&tables::SETUPS, &()).unwrap_or_default();
    let open = |s: &&Setup| s.app == dyno.app && s.status == SetupStatus::Pending && s.step == Step::Postdeploy;
    if let Some(setup) = all.iter().find(open) {
        let end = Postdeploy { exit_code, output };
        if let Err(e) = change(engine, setup.id, move |row| row.postdeploy = Some(end)).await {
            tracing::error!(error = %e, setup = %setup.id, "engine.setup_not_recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_and_secrets_are_made_once() {
        let text = |s: &str| s.to_string();
        let wanted = BTreeMap::from([
            (text("A"), Var::Value(text("1"))),
            (text("B"), Var::Required),
            (text("C"), Var::Secret),
            (text("D"), Var::Secret),
            (text("E"), Var::Optional),
        ]);
        let (given, before) = (BTreeMap::from([(text("A"), text("2"))]), BTreeMap::from([(text("D"), text("old"))]));
        assert_eq!(vars(wanted.clone(), given.clone(), &before), Err(vec![text("config var B is required")]));
        let given = BTreeMap::from([(text("A"), text("2")), (text("B"), text("b"))]);
        let set = vars(wanted, given, &before).unwrap();
        assert_eq!(set.keys().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!((set["A"].as_deref(), set["C"].as_ref().map(String::len)), (Some("2"), Some(64)));
    }
}
