//! What each command does.

mod one_offs;
mod policy;
mod stacks;

use crate::{
    args::{Command, Global, Invocation},
    client::Client,
    credentials::{Credentials, normal_url},
    failure::{Failure, Result},
    git,
    output::{ask, print, table},
};
use serde_json::{Map, Value, json};
use std::io::{BufRead, Read, Write};

/// Name of the git remote.
const REMOTE: &str = "tidemill";

/// Runs a command.
pub fn run(invocation: Invocation) -> Result<()> {
    let Invocation { global, command } = invocation;
    match command {
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            show(&global, &json!({ "version": version }), || format!("tidemill {version}\n"));
            Ok(())
        }
        Command::Login { url, token } => login(&global, &url, token),
        Command::GitCredentials { action } => git_credentials(&action),
        Command::Serve | Command::Demo | Command::SetupLink | Command::StackImport | Command::Heroku | Command::HerokuEnv => {
            let verbs = "tidemill serve, tidemill demo, tidemill setup-link, tidemill stack:import, tidemill heroku";
            Err(Failure::usage(format!("Give this verb first: {verbs}.")))
        }
        command => {
            let client = Client::from_environment(&global)?;
            remote(&Session { global, client }, command)
        }
    }
}

/// Flags and server of one invocation.
struct Session {
    global: Global,
    client: Client,
}

fn remote(session: &Session, command: Command) -> Result<()> {
    match command {
        Command::Whoami => session.whoami(),
        Command::Create { name, no_remote } => session.create(name, no_remote),
        Command::Apps => session.apps(),
        Command::Info => session.info(),
        Command::Destroy { confirm } => session.destroy(confirm),
        Command::Open => session.open(),
        Command::Config { shell } => session.config(shell),
        Command::ConfigGet { key } => session.config_get(&key),
        Command::ConfigSet { pairs } => session.config_set(&pairs),
        Command::ConfigUnset { keys } => session.config_unset(&keys),
        Command::Ps => session.ps(),
        Command::PsScale { changes } => session.scale(&changes),
        Command::PsRestart { dyno } => session.restart(dyno.as_deref()),
        Command::PsStop { dyno } => session.stop(&dyno),
        Command::RunDetached { env, size, ptype, ttl, command } => session.run_detached(&env, size, ptype, ttl, &command),
        Command::Run { env, size, ptype, no_tty, exit_code: _, command } => session.run(&env, size, ptype, no_tty, &command),
        Command::RunInside { dyno, no_tty, exit_code: _, command } => session.run_inside(&dyno, no_tty, &command),
        Command::Features => session.features(),
        Command::FeaturesInfo { feature } => session.feature(&feature),
        Command::FeaturesEnable { feature } => session.switch_feature(&feature, true),
        Command::FeaturesDisable { feature } => session.switch_feature(&feature, false),
        Command::HealthCheck => session.health_check(),
        Command::HealthCheckSet { path, successes, timeout, interval } => {
            session.set_health_check(&path, successes, timeout, interval)
        }
        Command::HealthCheckClear => session.clear_health_check(),
        Command::Schedule => session.schedules(),
        Command::ScheduleAdd { cron, size, command } => session.add_schedule(&cron, size, &command),
        Command::ScheduleRemove { id } => session.remove_schedule(&id),
        Command::ReleaseOutput { release } => session.release_output(release),
        Command::Logs { tail, num, dyno, source } => session.logs(tail, num, dyno, source),
        Command::Releases { num } => session.releases(num),
        Command::ReleaseInfo { release } => session.release(&release),
        Command::Rollback { release } => session.rollback(release),
        Command::Builds => session.builds(),
        Command::BuildOutput { build } => session.build_output(build),
        Command::Buildpacks => session.buildpacks(),
        Command::BuildpacksSet { buildpack } => session.set_buildpacks(vec![buildpack]),
        Command::BuildpacksAdd { buildpack, index } => session.add_buildpack(buildpack, index),
        Command::BuildpacksClear => session.set_buildpacks(vec![]),
        Command::Domains => session.domains(),
        Command::DomainsAdd { hostname } => session.change_domain(&hostname, true),
        Command::DomainsRemove { hostname } => session.change_domain(&hostname, false),
        Command::MaintenanceOn => session.maintenance(true),
        Command::MaintenanceOff => session.maintenance(false),
        Command::GitRemote => session.git_remote(),
        Command::Stack => session.stack(),
        Command::StackSet { stack } => session.set_stack(&stack),
        Command::Login { .. }
        | Command::Version
        | Command::GitCredentials { .. }
        | Command::Serve
        | Command::Demo
        | Command::SetupLink
        | Command::StackImport
        | Command::Heroku
        | Command::HerokuEnv => Ok(()),
    }
}

fn show(global: &Global, value: &Value, text: impl FnOnce() -> String) {
    if global.json { print(&format!("{value:#}\n")) } else { print(&text()) }
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn login(global: &Global, url: &str, token: Option<String>) -> Result<()> {
    let base = normal_url(url)?;
    let token = match token {
        Some(token) => token,
        None => ask("API token: ", global.no_input, "--token or TIDEMILL_API_KEY")?,
    };
    let client = Client::new(base.clone(), token.clone());
    let account = client.get("/account", None)?;
    let mut credentials = Credentials::load()?;
    credentials.hosts.insert(base.clone(), token);
    credentials.default = Some(base.clone());
    credentials.save()?;
    if !git::use_credential_helper(&base) {
        eprintln!(" !    git could not be told about the token; it will ask for a password: that is the token.");
    }
    eprintln!("Signed in to {base} as {}", field(&account, "email"));
    if global.json {
        print(&format!("{account:#}\n"));
    }
    Ok(())
}

/// The helper protocol of git: key=value lines in, user and password out.
fn git_credentials(action: &str) -> Result<()> {
    if action != "get" {
        return Ok(());
    }
    let mut wanted = (String::new(), String::new());
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        match line.split_once('=') {
            Some(("protocol", value)) => wanted.0 = value.into(),
            Some(("host", value)) => wanted.1 = value.into(),
            _ => {}
        }
    }
    let credentials = Credentials::load()?;
    let token = std::env::var("TIDEMILL_API_KEY").ok().filter(|t| !t.is_empty());
    if let Some(token) = token.or_else(|| credentials.hosts.get(&format!("{}://{}", wanted.0, wanted.1)).cloned()) {
        print(&format!("username=tidemill\npassword={token}\n"));
    }
    Ok(())
}

impl Session {
    fn app(&self) -> Result<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        if let Some(app) = self.global.app.clone().or_else(|| variable("TIDEMILL_APP")).or_else(|| variable("HEROKU_APP")) {
            return encoded(&app);
        }
        let found = git::app_from_remotes(&self.client.base, self.global.remote.as_deref())?;
        found.ok_or_else(|| Failure::usage("Which app? Use -a APP, or run this in a repository with a tidemill remote."))
    }

    fn whoami(&self) -> Result<()> {
        let account = self.client.get("/account", None)?;
        show(&self.global, &account, || format!("{}\n", field(&account, "email")));
        Ok(())
    }

    fn create(&self, name: Option<String>, no_remote: bool) -> Result<()> {
        let body = name.or(self.global.app.clone()).map_or_else(|| json!({}), |name| json!({ "name": name }));
        let app = self.client.send("POST", "/apps", &body)?;
        eprintln!("Creating app... done, {}, stack is {}", field(&app, "name"), field(&app["stack"], "name"));
        show(&self.global, &app, || format!("{} | {}\n", field(&app, "web_url"), field(&app, "git_url")));
        if !no_remote && git::set_remote(REMOTE, field(&app, "git_url")) {
            eprintln!("git remote {REMOTE} points to it");
        }
        Ok(())
    }

    fn apps(&self) -> Result<()> {
        let apps = self.client.get("/apps", Some("name ..; max=1000"))?;
        show(&self.global, &apps, || match items(&apps) {
            [] => "You have no apps. Make one with: tidemill create\n".into(),
            apps => apps.iter().map(|a| format!("{}\n", field(a, "name"))).collect(),
        });
        Ok(())
    }

    fn info(&self) -> Result<()> {
        let name = self.app()?;
        let app = self.client.get(&format!("/apps/{name}"), None)?;
        let formation = self.client.get(&format!("/apps/{name}/formation"), None)?;
        show(&self.global, &app, || {
            let dynos: Vec<String> =
                items(&formation).iter().map(|f| format!("{}: {}", field(f, "type"), f["quantity"])).collect();
            let row = |label: &str, value: String| vec![format!("{label}:"), value];
            let size = |v: &Value| v.as_u64().map_or_else(|| "–".into(), |b| format!("{} KiB", b.div_ceil(1024)));
            let rows = vec![
                row("Dynos", dynos.join(", ")),
                row("Git URL", field(&app, "git_url").into()),
                row("Maintenance", app["maintenance"].to_string()),
                row("Owner", field(&app["owner"], "email").into()),
                row("Slug size", size(&app["slug_size"])),
                row("Stack", field(&app["stack"], "name").into()),
                row("Web URL", field(&app, "web_url").into()),
            ];
            format!("=== {}\n{}", field(&app, "name"), table(&rows))
        });
        Ok(())
    }

    fn destroy(&self, confirm: Option<String>) -> Result<()> {
        let name = self.app()?;
        let typed = match confirm {
            Some(typed) => typed,
            None => {
                eprintln!(
                    " !    This destroys {name}: its code, releases, config vars, logs and domains. Nothing of it stays."
                );
                ask(&format!(" !    To go on, type {name}: "), self.global.no_input, &format!("--confirm {name}"))?
            }
        };
        if typed != name {
            return Err(Failure::usage(format!("{typed:?} is not {name}. Nothing was destroyed.")));
        }
        let app = self.client.delete(&format!("/apps/{name}"))?;
        eprintln!("Destroying {name}... done");
        show(&self.global, &app, String::new);
        Ok(())
    }

    fn open(&self) -> Result<()> {
        let app = self.client.get(&format!("/apps/{}", self.app()?), None)?;
        let url = field(&app, "web_url").to_string();
        show(&self.global, &json!({ "web_url": url }), || format!("{url}\n"));
        // Without a browser the printed address is all there is to give.
        let _ = std::process::Command::new("xdg-open")
            .arg(&url)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        Ok(())
    }

    fn config(&self, shell: bool) -> Result<()> {
        let name = self.app()?;
        let config = self.client.get(&format!("/apps/{name}/config-vars"), None)?;
        show(&self.global, &config, || {
            let pairs = config.as_object().into_iter().flatten().map(|(k, v)| (k, v.as_str().unwrap_or("")));
            if shell {
                return pairs.map(|(k, v)| format!("{k}={}\n", quoted(v))).collect();
            }
            let rows: Vec<Vec<String>> = pairs.map(|(k, v)| vec![format!("{k}:"), v.to_string()]).collect();
            format!("=== {name} Config Vars\n{}", table(&rows))
        });
        Ok(())
    }

    fn config_get(&self, key: &str) -> Result<()> {
        let config = self.client.get(&format!("/apps/{}/config-vars", self.app()?), None)?;
        let value = config.get(key).and_then(Value::as_str);
        if value.is_none() && !self.global.json {
            return Err(Failure { text: format!("There is no config var {key}."), exit: 4 });
        }
        show(&self.global, &json!({ key: value }), || format!("{}\n", value.unwrap_or("")));
        Ok(())
    }

    fn config_set(&self, pairs: &[String]) -> Result<()> {
        let mut body = Map::new();
        for pair in pairs {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("{pair} is invalid. Must be in the format FOO=bar.")))?;
            let value = match value.strip_prefix('@') {
                Some(file) => std::fs::read_to_string(file).map_err(|e| Failure::usage(format!("{file}: {e}")))?,
                None => value.to_string(),
            };
            body.insert(key.into(), value.into());
        }
        let keys: Vec<String> = body.keys().cloned().collect();
        self.change_config("Setting", &keys, body)
    }

    fn config_unset(&self, keys: &[String]) -> Result<()> {
        let body = keys.iter().map(|k| (k.clone(), Value::Null)).collect();
        self.change_config("Unsetting", keys, body)
    }

    fn change_config(&self, verb: &str, keys: &[String], body: Map<String, Value>) -> Result<()> {
        let name = self.app()?;
        let config = self.client.send("PATCH", &format!("/apps/{name}/config-vars"), &Value::Object(body))?;
        let releases = self.client.get(&format!("/apps/{name}/releases"), Some("version ..; order=desc,max=1"))?;
        let version = items(&releases).first().map_or(0, |r| r["version"].as_u64().unwrap_or(0));
        eprintln!("{verb} {} and restarting {name}... done, v{version}", keys.join(", "));
        show(&self.global, &config, || {
            let rows: Vec<Vec<String>> =
                keys.iter().filter_map(|k| Some(vec![format!("{k}:"), config.get(k)?.as_str()?.to_string()])).collect();
            table(&rows)
        });
        Ok(())
    }

    fn ps(&self) -> Result<()> {
        let name = self.app()?;
        let dynos = self.client.get(&format!("/apps/{name}/dynos"), None)?;
        show(&self.global, &dynos, || {
            let mut out = String::new();
            let mut types: Vec<&str> = items(&dynos).iter().map(|d| field(d, "type")).collect();
            types.dedup();
            for ptype in types {
                let of_type: Vec<&Value> = items(&dynos).iter().filter(|d| field(d, "type") == ptype).collect();
                let first = of_type[0];
                out.push_str(&format!(
                    "=== {ptype} ({}): {} ({})\n\n",
                    field(first, "size"),
                    field(first, "command"),
                    of_type.len()
                ));
                for dyno in of_type {
                    out.push_str(&format!("{}: {} {}\n", field(dyno, "name"), field(dyno, "state"), field(dyno, "updated_at")));
                }
                out.push('\n');
            }
            if out.is_empty() { format!("No dynos on {name}\n") } else { out }
        });
        Ok(())
    }

    fn scale(&self, changes: &[String]) -> Result<()> {
        let name = self.app()?;
        if changes.is_empty() {
            let formation = self.client.get(&format!("/apps/{name}/formation"), None)?;
            show(&self.global, &formation, || {
                let all: Vec<String> = items(&formation)
                    .iter()
                    .map(|f| format!("{}={}:{}", field(f, "type"), f["quantity"], field(f, "size")))
                    .collect();
                format!("{}\n", all.join(" "))
            });
            return Ok(());
        }
        let updates: Result<Vec<Value>> = changes.iter().map(|c| scale_change(c)).collect();
        let formation = self.client.send("PATCH", &format!("/apps/{name}/formation"), &json!({ "updates": updates? }))?;
        let all: Vec<String> = items(&formation)
            .iter()
            .map(|f| format!("{} at {}:{}", field(f, "type"), f["quantity"], field(f, "size")))
            .collect();
        eprintln!("Scaling dynos... done, now running {}", all.join(", "));
        show(&self.global, &formation, String::new);
        Ok(())
    }

    fn restart(&self, dyno: Option<&str>) -> Result<()> {
        let name = self.app()?;
        let path = match dyno {
            Some(dyno) => format!("/apps/{name}/dynos/{}", encoded(dyno)?),
            None => format!("/apps/{name}/dynos"),
        };
        let answer = self.client.delete(&path)?;
        eprintln!("Restarting {} on {name}... done", dyno.unwrap_or("all dynos"));
        show(&self.global, &answer, String::new);
        Ok(())
    }

    fn logs(&self, tail: bool, num: Option<usize>, dyno: Option<String>, source: Option<String>) -> Result<()> {
        let body = json!({ "lines": num.unwrap_or(100), "dyno": dyno, "source": source, "tail": tail });
        let session = self.client.send("POST", &format!("/apps/{}/log-sessions", self.app()?), &body)?;
        let url = own_address(field(&session, "logplex_url"), &self.client.base);
        if !self.global.json {
            return copy(self.client.stream(&url)?);
        }
        let lines = std::io::BufReader::new(self.client.stream(&url)?);
        for line in lines.lines().map_while(std::result::Result::ok) {
            print(&format!("{}\n", log_object(&line)));
        }
        Ok(())
    }

    fn releases(&self, num: usize) -> Result<()> {
        let name = self.app()?;
        let range = format!("version ..; max={}, order=desc", num.clamp(1, 1000));
        let releases = self.client.get(&format!("/apps/{name}/releases"), Some(&range))?;
        show(&self.global, &releases, || {
            let rows: Vec<Vec<String>> = items(&releases)
                .iter()
                .map(|r| {
                    let mark = if r["current"] == true {
                        " (current)"
                    } else if r["status"] == "failed" {
                        " (failed)"
                    } else {
                        ""
                    };
                    vec![
                        format!("v{}{mark}", r["version"]),
                        field(r, "description").into(),
                        field(&r["user"], "email").into(),
                        field(r, "created_at").into(),
                    ]
                })
                .collect();
            format!("=== {name} Releases\n{}", table(&rows))
        });
        Ok(())
    }

    fn release(&self, release: &str) -> Result<()> {
        let version = encoded(release.trim_start_matches('v'))?;
        let release = self.client.get(&format!("/apps/{}/releases/{version}", self.app()?), None)?;
        show(&self.global, &release, || {
            let row = |label: &str, value: String| vec![format!("{label}:"), value];
            let rows = [
                row("By", field(&release["user"], "email").into()),
                row("Change", field(&release, "description").into()),
                row("Status", field(&release, "status").into()),
                row("When", field(&release, "created_at").into()),
            ];
            format!("=== Release v{}\n{}", release["version"], table(&rows))
        });
        Ok(())
    }

    fn rollback(&self, release: Option<String>) -> Result<()> {
        let name = self.app()?;
        let wanted = match release {
            Some(release) => release.trim_start_matches('v').to_string(),
            None => {
                let releases = self.client.get(&format!("/apps/{name}/releases"), Some("version ..; max=10, order=desc"))?;
                let eligible = items(&releases).iter().filter(|r| r["eligible_for_rollback"] == true).nth(1);
                eligible
                    .map(|r| r["version"].to_string())
                    .ok_or_else(|| Failure::failed("There is no older release to go back to."))?
            }
        };
        let release = self.client.send("POST", &format!("/apps/{name}/releases"), &json!({ "release": wanted }))?;
        eprintln!("Rolling back {name} to v{wanted}... done, v{}", release["version"]);
        eprintln!(" !    Rollback affects code and config vars; databases and add-ons are as they were.");
        show(&self.global, &release, String::new);
        Ok(())
    }

    fn builds(&self) -> Result<()> {
        let name = self.app()?;
        let builds = self.client.get(&format!("/apps/{name}/builds"), Some("created_at ..; max=15, order=desc"))?;
        show(&self.global, &builds, || {
            let commit = |b: &Value| field(&b["source_blob"], "version").chars().take(8).collect::<String>();
            let rows: Vec<Vec<String>> = items(&builds)
                .iter()
                .map(|b| {
                    vec![
                        field(b, "id").into(),
                        field(b, "status").into(),
                        commit(b),
                        field(&b["user"], "email").into(),
                        field(b, "created_at").into(),
                    ]
                })
                .collect();
            format!("=== {name} Builds\n{}", table(&rows))
        });
        Ok(())
    }

    fn build_output(&self, build: Option<String>) -> Result<()> {
        let name = self.app()?;
        let build = match build {
            Some(id) => self.client.get(&format!("/apps/{name}/builds/{}", encoded(&id)?), None)?,
            None => {
                let builds = self.client.get(&format!("/apps/{name}/builds"), Some("created_at ..; max=1, order=desc"))?;
                items(&builds).first().cloned().ok_or_else(|| Failure { text: format!("{name} has no builds."), exit: 4 })?
            }
        };
        copy(self.client.stream(&own_address(field(&build, "output_stream_url"), &self.client.base))?)
    }

    fn buildpack_names(&self, name: &str) -> Result<Vec<String>> {
        let installed = self.client.get(&format!("/apps/{name}/buildpack-installations"), None)?;
        Ok(items(&installed).iter().map(|i| field(&i["buildpack"], "url").to_string()).collect())
    }

    fn buildpacks(&self) -> Result<()> {
        let name = self.app()?;
        let installed = self.client.get(&format!("/apps/{name}/buildpack-installations"), None)?;
        show(&self.global, &installed, || match items(&installed) {
            [] => format!("{name} has no buildpacks set; they are detected at each build.\n"),
            all => all.iter().enumerate().map(|(n, i)| format!("{}. {}\n", n + 1, field(&i["buildpack"], "name"))).collect(),
        });
        Ok(())
    }

    fn set_buildpacks(&self, names: Vec<String>) -> Result<()> {
        let name = self.app()?;
        let updates: Vec<Value> = names.iter().map(|n| json!({ "buildpack": n })).collect();
        let installed =
            self.client.send("PUT", &format!("/apps/{name}/buildpack-installations"), &json!({ "updates": updates }))?;
        match names.len() {
            0 => eprintln!("Buildpacks cleared. The next build of {name} detects its buildpack."),
            n => eprintln!("{n} buildpack(s) set. The next build of {name} uses them: git push {REMOTE} main"),
        }
        show(&self.global, &installed, String::new);
        Ok(())
    }

    fn add_buildpack(&self, buildpack: String, index: Option<usize>) -> Result<()> {
        let mut names = self.buildpack_names(&self.app()?)?;
        let place = index.map_or(names.len(), |n| n.saturating_sub(1)).min(names.len());
        names.insert(place, buildpack);
        self.set_buildpacks(names)
    }

    fn domains(&self) -> Result<()> {
        let name = self.app()?;
        let domains = self.client.get(&format!("/apps/{name}/domains"), None)?;
        show(&self.global, &domains, || {
            let rows: Vec<Vec<String>> =
                items(&domains).iter().map(|d| vec![field(d, "hostname").into(), field(d, "kind").into()]).collect();
            format!("=== {name} Domains\n{}", table(&rows))
        });
        Ok(())
    }

    fn change_domain(&self, hostname: &str, add: bool) -> Result<()> {
        let name = self.app()?;
        let domain = if add {
            self.client.send("POST", &format!("/apps/{name}/domains"), &json!({ "hostname": hostname }))?
        } else {
            self.client.delete(&format!("/apps/{name}/domains/{}", encoded(hostname)?))?
        };
        eprintln!("{} {hostname} on {name}... done", if add { "Adding" } else { "Removing" });
        show(&self.global, &domain, String::new);
        Ok(())
    }

    fn maintenance(&self, on: bool) -> Result<()> {
        let name = self.app()?;
        let app = self.client.send("PATCH", &format!("/apps/{name}"), &json!({ "maintenance": on }))?;
        eprintln!("{} maintenance mode for {name}... done", if on { "Enabling" } else { "Disabling" });
        show(&self.global, &app, String::new);
        Ok(())
    }

    fn git_remote(&self) -> Result<()> {
        let app = self.client.get(&format!("/apps/{}", self.app()?), None)?;
        let url = field(&app, "git_url");
        if !git::set_remote(REMOTE, url) {
            return Err(Failure::usage("This folder is no git repository."));
        }
        show(&self.global, &json!({ "remote": REMOTE, "url": url }), || format!("set git remote {REMOTE} to {url}\n"));
        Ok(())
    }
}

/// A name that is to be part of a path.
fn encoded(name: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*');
    if !name.is_empty() && name.bytes().all(plain) && name != "." && name != ".." {
        return Ok(name.to_string());
    }
    Err(Failure { text: format!("Couldn't find {name:?}: that is no valid name."), exit: 4 })
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
    let at = text.rfind(['+', '-']).filter(|at| *at > 0).ok_or_else(bad)?;
    let (ptype, step) = text.split_at(at);
    step[1..].parse::<u32>().map_err(|_| bad())?;
    Ok(json!({ "type": ptype, "quantity": step }))
}

/// The server may know itself by another name than the one it was reached by.
/// As a shell reads it back unchanged.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn own_address(url: &str, base: &str) -> String {
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    path.map_or_else(|| url.to_string(), |path| format!("{base}{path}"))
}

fn copy(mut from: impl Read) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut buffer = [0u8; 16 << 10];
    loop {
        let n = from.read(&mut buffer).map_err(|e| Failure::unreachable(format!("The stream was cut: {e}")))?;
        if n == 0 || out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}

/// `time source[ps]: message` as an object.
fn log_object(line: &str) -> Value {
    let parsed = line.split_once(' ').and_then(|(time, rest)| {
        let (head, message) = rest.split_once(": ")?;
        let (source, ps) = head.strip_suffix(']')?.split_once('[')?;
        Some(json!({ "time": time, "source": source, "ps": ps, "message": message }))
    });
    parsed.unwrap_or_else(|| json!({ "message": line }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_forms() {
        assert_eq!(scale_change("web=2").unwrap(), json!({"type": "web", "quantity": 2}));
        assert_eq!(scale_change("web=2:standard-2x").unwrap(), json!({"type": "web", "quantity": 2, "size": "standard-2x"}));
        assert_eq!(scale_change("my-worker+1").unwrap(), json!({"type": "my-worker", "quantity": "+1"}));
        assert_eq!(scale_change("web=Basic").unwrap(), json!({"type": "web", "size": "Basic"}));
        for bad in ["web", "web=", "+1", "web+x", "web=:S"] {
            assert_eq!(scale_change(bad).unwrap_err().exit, 2, "{bad}");
        }
    }

    #[test]
    fn log_lines_become_objects_and_addresses_follow_the_server() {
        assert_eq!(log_object("T app[web.1]: a: b")["message"], "a: b");
        assert_eq!(own_address("http://paas:5000/streams/x", "http://127.0.0.1:1"), "http://127.0.0.1:1/streams/x");
    }
}
