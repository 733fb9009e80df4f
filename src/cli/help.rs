//! Help: examples first. `help x`, `x --help` and `x -h` are the same text.

use crate::{
    args::{GLOBAL, Given, Global},
    failure::{Failure, Result},
    output::{paged, table},
    topics,
    verb::{Arg, Shape, Topic, Verb, here, maybe},
};

/// `help`.
pub const TOPIC: Topic = Topic {
    name: "help",
    about: "Explain a topic or a command",
    verbs: &[here("help", "Explain a topic or a command", run).args(&[maybe("subject", "ps, or ps:scale")]).examples(&[
        "help",
        "help ps",
        "help ps:scale",
    ])],
};

fn run(_: &Global, given: &Given) -> Result<()> {
    let Some(subject) = given.text("subject") else {
        paged(&root());
        return Ok(());
    };
    let topic = topics::all().iter().find(|t| t.name == subject);
    let text = match (topics::find(subject), topic) {
        (Some(found), _) => verb(found),
        (None, Some(found)) => self::topic(found),
        (None, None) => {
            let names = topics::all().iter().flat_map(|t| t.verbs.iter().map(|v| v.name).chain([t.name]));
            let meant = crate::nearest::did_you_mean(subject, names);
            return Err(Failure { text: format!("There is no help on {subject}.{meant}"), exit: 2 });
        }
    };
    paged(&text);
    Ok(())
}

/// The first page.
pub fn root() -> String {
    let rows: Vec<Vec<String>> = topics::all()
        .iter()
        .filter(|t| t.verbs.iter().any(|v| !v.hidden))
        .map(|t| vec![format!("  {}", t.name), t.about.into()])
        .collect();
    let start =
        "  tidemill login https://paas.example.com\n  tidemill create shop\n  git push tidemill main\n  tidemill logs -t\n";
    format!(
        "git push to a served app, on a server of your own\n\nEXAMPLES\n{start}\nUSAGE\n  tidemill COMMAND [ARGUMENTS] [FLAGS]\n\n\
         TOPICS, explained by tidemill help TOPIC\n{}\nFLAGS of every command\n{}",
        table(&rows),
        flags(GLOBAL),
    )
}

/// A topic that has no command of its own name.
pub fn topic(topic: &Topic) -> String {
    format!("{}\n\nCOMMANDS\n{}", topic.about, listed(topic))
}

fn listed(topic: &Topic) -> String {
    let shown = topic.verbs.iter().filter(|v| !v.hidden);
    table(&shown.map(|v| vec![format!("  {}", v.name), v.about.to_string()]).collect::<Vec<_>>())
}

/// One verb; the one that has the name of its topic lists the others, too.
pub fn verb(verb: &Verb) -> String {
    let mut out = format!("{}\n\n", verb.about);
    if !verb.examples.is_empty() {
        out.push_str("EXAMPLES\n");
        verb.examples.iter().for_each(|e| out.push_str(&format!("  tidemill {e}\n")));
        out.push('\n');
    }
    out.push_str(&format!("USAGE\n  {}\n", usage(verb)));
    if !verb.aliases.is_empty() {
        out.push_str(&format!("\nALSO CALLED\n  {}\n", verb.aliases.join(", ")));
    }
    let places: Vec<Vec<String>> =
        verb.args.iter().filter(|a| is_place(a)).map(|a| vec![format!("  {}", a.name.to_uppercase()), explained(a)]).collect();
    if !places.is_empty() {
        out.push_str(&format!("\nARGUMENTS\n{}", table(&places)));
    }
    let own: Vec<Arg> = verb.args.iter().filter(|a| !is_place(a)).copied().collect();
    if !own.is_empty() {
        out.push_str(&format!("\nFLAGS\n{}", flags(&own)));
    }
    let others: Vec<Arg> = GLOBAL.iter().filter(|g| own.iter().all(|o| o.name != g.name)).copied().collect();
    out.push_str(&format!("\nFLAGS of every command\n{}", flags(&others)));
    let topic = topics::all().iter().find(|t| t.name == verb.name && t.verbs.len() > 1);
    topic.into_iter().for_each(|t| out.push_str(&format!("\nCOMMANDS\n{}", listed(t))));
    out
}

fn is_place(arg: &Arg) -> bool {
    matches!(arg.shape, Shape::Place { .. } | Shape::Rest)
}

fn explained(arg: &Arg) -> String {
    if arg.words.is_empty() { arg.help.into() } else { format!("{} ({})", arg.help, arg.words.join(", ")) }
}

/// `tidemill ps:scale [CHANGES...] [--flag]`.
pub fn usage(verb: &Verb) -> String {
    let mut out = format!("tidemill {}", verb.name);
    for arg in verb.args {
        let name = arg.name.to_uppercase();
        let part = match arg.shape {
            Shape::Place { min: 0, max: 1 } => format!("[{name}]"),
            Shape::Place { min: 0, .. } => format!("[{name}...]"),
            Shape::Place { max: 1, .. } => name,
            Shape::Place { .. } => format!("{name}..."),
            Shape::Rest => format!("[--] {name}..."),
            Shape::Value | Shape::Values | Shape::Switch => continue,
        };
        out.push_str(&format!(" {part}"));
    }
    out.push_str(" [FLAGS]");
    out
}

/// `-a, --app APP  help`, in lines.
fn flags(args: &[Arg]) -> String {
    table(&args.iter().map(|a| vec![format!("  {}", flag(a)), explained(a)]).collect::<Vec<_>>())
}

/// `-a, --app APP`.
pub fn flag(arg: &Arg) -> String {
    let short = arg.short.map_or_else(|| "    ".into(), |s| format!("-{s}, "));
    let value = if arg.shape == Shape::Switch { String::new() } else { format!(" {}", arg.name.to_uppercase()) };
    format!("{short}--{}{value}", arg.name)
}
