//! `import heroku`: an app of another server that speaks the Platform API, made anew on this one (`ux.md` J13).
//!
//! What is read, compared and written is a list of [`Step`]s; the same command again does what is missing. What is here already
//! and different is shown and left, unless `--force` says otherwise. Values of config vars are never printed.

mod plan;
mod source;
mod work;

use crate::{
    client::Client,
    failure::{Failure, Result},
    output::{ask_secret, warn},
    session::Session,
    tls::Trust,
    verb::{Verb, switch, there, value},
};
use plan::{Plan, State};
use serde_json::json;
use source::Source;
use std::io::Read;

/// The verb.
pub const VERB: Verb = there("import:heroku", "Make an app of another server anew on this one, without its code", run)
    .args(&[
        value("from", "Address of the server that has the app, such as https://api.heroku.com"),
        switch("from-token-stdin", "Read that server's token from standard input; else HEROKU_API_KEY"),
        value("to", "Name of the app here; else the same"),
        switch("dry-run", "Only show what would be done, and what can not move"),
        switch("force", "Change what is here already and different"),
    ])
    .examples(&[
        "import heroku --app shop --from https://api.heroku.com --dry-run",
        "import heroku --app shop --from https://api.heroku.com --to shop2 --from-token-stdin < token",
    ]);

fn run(s: &Session) -> Result<()> {
    let name = s.global.app.clone().ok_or_else(|| Failure::usage("Which app of the other server? Give --app NAME."))?;
    let from = s.given.text("from").ok_or_else(|| Failure::usage("Which server has the app? Give --from URL."))?;
    let to = s.given.text("to").unwrap_or(&name).to_string();
    let base = crate::credentials::normal_url(from)?;
    if base == s.client.base && to == name {
        return Err(Failure::usage("That is the same app on the same server; give --to another name."));
    }
    let client = Client::new(base.clone(), token(s)?, &Trust::System)?;
    let source = Source::read(&client, &name)?;
    let plan = Plan::make(&source, &s.client, &to)?;
    if s.given.is("dry-run") {
        s.show(&plan.as_json(), || plan.text(s.given.is("force")));
        return Ok(());
    }
    let done = work::carry_out(s, &plan, &to)?;
    let different = plan.steps.iter().filter(|step| matches!(step.state, State::Different(_))).count();
    let left = if s.given.is("force") { 0 } else { different };
    s.show(&json!({ "app": to, "done": done, "different": left, "cannot_move": plan.left_as_json() }), || plan.farewell(&to));
    if left > 0 {
        let text = format!("{left} things are here already and different; they were left as they are. To change them: --force");
        return Err(Failure { text, exit: 5 });
    }
    Ok(())
}

/// The other server's token: it is in no argument, where other users of this computer could see it.
fn token(s: &Session) -> Result<String> {
    if s.given.is("from-token-stdin") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(|e| Failure::failed(e.to_string()))?;
        return Some(text.trim().to_string())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Failure::usage("There is no token on standard input."));
    }
    match std::env::var("HEROKU_API_KEY").ok().filter(|token| !token.is_empty()) {
        Some(token) => Ok(token),
        None => ask_secret("Token of the other server: ", s.global.no_input, "--from-token-stdin or HEROKU_API_KEY"),
    }
}

/// Says it on standard error, unless only ids are wanted.
fn say(s: &Session, text: &str) {
    if !s.global.quiet {
        eprintln!("{text}");
    }
}

/// A step that failed is told, and the next ones are tried: the command can be given again.
fn tell_failure(what: &str, failure: &Failure) {
    warn(&format!("{what}: {}", failure.text));
}
