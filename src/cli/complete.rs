//! Completion: shells ask this program, which asks the server for names, with a short limit and a small memory.

use crate::{
    args::{GLOBAL, Given, Global, join_topic},
    client::Client,
    credentials,
    failure::Result,
    git,
    output::print,
    session::{encoded, field, items},
    topics,
    verb::{Arg, Live, Shape, Verb},
};
use serde_json::Value;
use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// What the scripts call: `tidemill __complete WORDS...`, the last word being the one to complete.
pub const VERB: &str = "__complete";
/// A key press does not wait longer.
const LIMIT: Duration = Duration::from_millis(700);
/// Age up to which an answer of the server is used again.
const FRESH: Duration = Duration::from_secs(20);

/// The line is split here and not by bash, which splits at colons.
const BASH: &str = r#"_tidemill() {
    local line="${COMP_LINE:0:COMP_POINT}" cur
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    cur="${words[-1]}"
    local IFS=$'\n'
    COMPREPLY=($(tidemill __complete "${words[@]:1}" 2>/dev/null | cut -f1))
    if [[ "$cur" == *[:=]* ]]; then
        local head="${cur%"${cur##*[:=]}"}"
        COMPREPLY=("${COMPREPLY[@]#"$head"}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
}
complete -o default -F _tidemill tidemill
"#;

const ZSH: &str = r#"#compdef tidemill
_tidemill() {
    local -a lines entries
    lines=("${(@f)$(tidemill __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    local line
    for line in $lines; do
        [[ -n "$line" ]] && entries+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    (( ${#entries} )) && _describe tidemill entries || _files
}
compdef _tidemill tidemill
"#;

const FISH: &str = r#"function __tidemill_complete
    set -l words (commandline -opc) (commandline -ct)
    tidemill __complete $words[2..-1] 2>/dev/null
end
complete -c tidemill -f -a '(__tidemill_complete)'
"#;

/// `completion SHELL`.
pub fn script(_: &Global, given: &Given) -> Result<()> {
    print(match given.need("shell") {
        "bash" => BASH,
        "zsh" => ZSH,
        _ => FISH,
    });
    Ok(())
}

/// Prints candidates for the last word, a line each: word, tab, what it is.
pub fn answer(args: &[OsString]) {
    let words: Vec<String> = args.iter().skip(2).map(|w| w.to_string_lossy().into_owned()).collect();
    let out: String = candidates(&words).iter().map(|(word, about)| format!("{word}\t{about}\n")).collect();
    print(&out);
}

fn candidates(words: &[String]) -> Vec<(String, String)> {
    let Some((current, before)) = words.split_last() else { return vec![] };
    let joined = join_topic(std::iter::once("tidemill").chain(before.iter().map(String::as_str)).map(OsString::from).collect());
    let joined: Vec<String> = joined.iter().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    let mut found = match joined.iter().position(|w| topics::find(w).is_some()) {
        None => verbs(before, current),
        Some(at) => match topics::find(&joined[at]) {
            Some(verb) if verb.name == "help" => verbs(&joined[at + 1..], current),
            Some(verb) => {
                let mut all = arguments(verb, &joined[at + 1..], current);
                // `ps sc`: the verb may go on.
                if at + 1 == joined.len() {
                    all.extend(verbs(before, current));
                }
                all
            }
            None => vec![],
        },
    };
    found.retain(|(word, _)| word.starts_with(current.as_str()));
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// Verbs, or what follows the words of a topic.
fn verbs(before: &[String], _current: &str) -> Vec<(String, String)> {
    let prefix: String = before.iter().filter(|w| !w.starts_with('-')).map(|w| format!("{w}:")).collect();
    let shown = topics::all().iter().flat_map(|t| t.verbs).filter(|v| !v.hidden);
    shown.filter_map(|v| Some((v.name.strip_prefix(&prefix)?.to_string(), v.about.to_string()))).collect()
}

fn arguments(verb: &Verb, before: &[String], current: &str) -> Vec<(String, String)> {
    let all = || verb.args.iter().chain(GLOBAL.iter().filter(|g| verb.args.iter().all(|a| a.name != g.name)));
    let is_flag = |arg: &Arg, word: &str| {
        word.strip_prefix("--").is_some_and(|w| w == arg.name || arg.aliases.contains(&w))
            || arg.short.is_some_and(|s| word == format!("-{s}"))
    };
    let takes_value = |arg: &&Arg| matches!(arg.shape, Shape::Value | Shape::Values);
    if let Some(arg) = before.last().and_then(|word| all().filter(takes_value).find(|a| is_flag(a, word))) {
        return values(arg, before);
    }
    if current.starts_with('-') {
        let flags = all().filter(|a| !matches!(a.shape, Shape::Place { .. } | Shape::Rest));
        return flags.map(|a| (format!("--{}", a.name), a.help.to_string())).collect();
    }
    let mut count = 0;
    let mut words = before.iter();
    while let Some(word) = words.next() {
        match all().find(|a| is_flag(a, word)) {
            Some(arg) if takes_value(&arg) => {
                words.next();
            }
            _ if word.starts_with('-') => {}
            _ => count += 1,
        }
    }
    let places: Vec<&Arg> = verb.args.iter().filter(|a| matches!(a.shape, Shape::Place { .. })).collect();
    let last_takes_all = places.last().filter(|a| matches!(a.shape, Shape::Place { max, .. } if max > 1));
    places.get(count).or(last_takes_all).map(|arg| values(arg, before)).unwrap_or_default()
}

/// Words for a place or a flag.
fn values(arg: &Arg, before: &[String]) -> Vec<(String, String)> {
    if !arg.words.is_empty() {
        return arg.words.iter().map(|w| (w.to_string(), String::new())).collect();
    }
    arg.live.and_then(|live| known(live, before)).unwrap_or_default()
}

/// What the server knows; nothing when it does not answer at once.
fn known(live: Live, before: &[String]) -> Option<Vec<(String, String)>> {
    let flag =
        |names: [&str; 2]| before.iter().position(|w| names.contains(&w.as_str())).and_then(|at| before.get(at + 1)).cloned();
    let global = Global { app: flag(["-a", "--app"]), remote: flag(["-r", "--remote"]), ..Global::default() };
    let client = Client::from_environment(&global).ok()?;
    let app = || -> Option<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let named = global.app.clone().or_else(|| variable("TIDEMILL_APP")).or_else(|| variable("HEROKU_APP"));
        let name = named.or_else(|| git::app_from_remotes(&client.base, global.remote.as_deref()).ok().flatten())?;
        encoded(&name).ok()
    };
    let get = |path: String| cached(&client, &path);
    let in_app = |rest: &str| get(format!("/apps/{}/{rest}", app()?));
    let names =
        |list: &Value, key: &str| items(list).iter().map(|i| (field(i, key).to_string(), String::new())).collect::<Vec<_>>();
    Some(match live {
        Live::Apps => names(&get("/apps".into())?, "name"),
        Live::Stacks => names(&get("/stacks".into())?, "name"),
        Live::Pipelines => names(&get("/pipelines".into())?, "name"),
        Live::Addons => names(&in_app("addons")?, "name"),
        Live::Features => names(&in_app("features")?, "name"),
        Live::Domains => names(&in_app("domains")?, "hostname"),
        Live::Types => items(&in_app("formation")?)
            .iter()
            .map(|f| (format!("{}=", field(f, "type")), format!("{} at {}", f["quantity"], field(f, "size"))))
            .collect(),
        Live::Dynos => {
            let dynos = in_app("dynos")?;
            let mut all = names(&dynos, "name");
            all.extend(names(&dynos, "type"));
            all
        }
        Live::Releases => items(&in_app("releases")?)
            .iter()
            .rev()
            .take(20)
            .map(|r| (format!("v{}", r["version"]), field(r, "description").to_string()))
            .collect(),
        Live::ConfigKeys => {
            let config = in_app("config-vars")?;
            config.as_object()?.keys().map(|k| (k.clone(), String::new())).collect()
        }
    })
}

/// Only names are kept, and no values of config vars.
fn cached(client: &Client, path: &str) -> Option<Value> {
    let file = cache_file(client, path)?;
    let age = std::fs::metadata(&file).and_then(|m| m.modified()).ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    if age.is_some_and(|age| age < FRESH)
        && let Some(value) = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    {
        return Some(value);
    }
    let mut value = client.request_within(Some(LIMIT), "GET", path, &[("range", "..; max=1000")], None).ok()?.value;
    if path.ends_with("/config-vars")
        && let Value::Object(map) = &mut value
    {
        map.values_mut().for_each(|v| *v = Value::Null);
    }
    // Without it the next key press asks again.
    let _ = serde_json::to_vec(&value).map(|bytes| credentials::write(&file, &bytes));
    Some(value)
}

fn cache_file(client: &Client, path: &str) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    // Another person's token must not see these names.
    let name = crate::tls::fingerprint(format!("{} {} {path}", client.base, client.token).as_bytes());
    Some(base.join("tidemill").join(format!("{}.json", name.get(..32)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        let words: Vec<String> = line.iter().map(ToString::to_string).collect();
        candidates(&words).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn verbs_flags_and_fixed_words_are_offered() {
        assert!(words(&["ps:sc"]).contains(&"ps:scale".to_string()));
        assert!(words(&["ps", "sc"]).contains(&"scale".to_string()));
        assert!(words(&["certs", "auto", "en"]).contains(&"enable".to_string()));
        assert_eq!(words(&["completion", "z"]), ["zsh"]);
        assert_eq!(words(&["members:add", "x@y", "--role", "v"]), ["viewer"]);
        assert!(words(&["ps:scale", "--no-i"]).contains(&"--no-input".to_string()));
        assert!(words(&["nonsense", "x"]).is_empty());
    }
}
