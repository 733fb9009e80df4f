//! Tokens for automation, clients of OAuth, sessions.

use super::prelude::*;

const ID: crate::verb::Arg = need("id", "Id, as the list shows it");

/// `authorizations`.
pub const AUTHORIZATIONS: Topic = Topic {
    name: "authorizations",
    about: "API tokens for automation",
    verbs: &[
        there("authorizations", "List tokens", list).aliases(&["authorizations:list"]),
        there("authorizations:create", "Make a token; it is shown once", create)
            .args(&[
                value("description", "What it is for").short('d'),
                value(
                    "scope",
                    "What it may do: global, read, write, read-protected, write-protected, identity; commas between",
                )
                .short('s'),
                value("expires-in", "Seconds until it ends; without it, never").short('e'),
                switch("short", "Print the token only").short('S'),
            ])
            .examples(&["authorizations:create -d \"CI of shop\" -s write-protected -e 86400", "authorizations:create -S"]),
        there("authorizations:info", "Show a token", info).args(&[ID]),
        there("authorizations:update", "Change what a token is for", update)
            .args(&[ID, value("description", "What it is for").short('d')]),
        there("authorizations:revoke", "End a token", revoke).aliases(&["authorizations:destroy"]).args(&[ID]),
        there("authorizations:rotate", "Put a new token in the place of an old one", rotate).args(&[ID]),
    ],
};

/// `clients`.
pub const CLIENTS: Topic = Topic {
    name: "clients",
    about: "OAuth clients: programs that ask people for access",
    verbs: &[
        there("clients", "List clients", clients).aliases(&["clients:list"]),
        there("clients:create", "Register a client", create_client).args(&[
            need("name", "Its name"),
            need("redirect_uri", "Where people are sent back to"),
            SHELL,
        ]),
        there("clients:info", "Show a client", client_info).args(&[ID, SHELL]),
        there("clients:update", "Change a client", update_client).args(&[
            ID,
            value("name", "Its name").short('n'),
            value("url", "Where people are sent back to"),
        ]),
        there("clients:rotate", "Put a new secret in the place of the old one", rotate_client).args(&[ID, SHELL]),
        there("clients:destroy", "Remove a client; its tokens end", destroy_client).args(&[ID]),
    ],
};

/// `sessions`.
pub const SESSIONS: Topic = Topic {
    name: "sessions",
    about: "Sessions of your account",
    verbs: &[
        there("sessions", "List sessions", sessions).aliases(&["sessions:list"]),
        there("sessions:destroy", "End a session", destroy_session).args(&[ID]),
    ],
};

const SHELL: crate::verb::Arg = switch("shell", "As a shell would read it").short('s');

fn path(kind: &str, id: &str) -> Result<String> {
    Ok(format!("/oauth/{kind}/{}", encoded(id)?))
}

fn list(s: &Session) -> Result<()> {
    let all = s.client.list("/oauth/authorizations")?;
    s.show(&all, || match items(&all) {
        [] => "There are no tokens.\n".into(),
        _ => table(&rows(&all, &["/description", "/id", "/scope", "/access_token/expires_in"])),
    });
    Ok(())
}

fn describe(authorization: &Value) -> String {
    let life = match authorization["access_token"]["expires_in"].as_u64() {
        Some(seconds) => format!("in {seconds} s"),
        None => "never".into(),
    };
    labelled(&[
        ("Client", field(&authorization["client"], "name").to_string()),
        ("ID", field(authorization, "id").into()),
        ("Description", field(authorization, "description").into()),
        ("Scope", text(&authorization["scope"])),
        ("Token", field(&authorization["access_token"], "token").into()),
        ("Updated", field(authorization, "updated_at").into()),
        ("Expires", life),
    ])
}

fn create(s: &Session) -> Result<()> {
    let scope: Vec<&str> =
        s.given.text("scope").unwrap_or("global").split(',').map(str::trim).filter(|x| !x.is_empty()).collect();
    let body = json!({ "description": s.given.text("description"), "scope": scope, "expires_in": s.given.number::<u64>("expires-in")? });
    let made = s.doing("Creating OAuth Authorization", |c| c.send("POST", "/oauth/authorizations", &body))?;
    s.show(&made, || match s.given.is("short") {
        true => format!("{}\n", field(&made["access_token"], "token")),
        false => describe(&made),
    });
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let found = s.client.get(&path("authorizations", s.given.need("id"))?)?;
    s.show(&found, || describe(&found));
    Ok(())
}

fn update(s: &Session) -> Result<()> {
    let description = s.given.text("description").ok_or_else(|| Failure::usage("Say what it is for: --description TEXT."))?;
    let path = path("authorizations", s.given.need("id"))?;
    let changed =
        s.doing("Updating OAuth Authorization", |c| c.send("PATCH", &path, &json!({ "description": description })))?;
    s.show(&changed, || describe(&changed));
    Ok(())
}

fn revoke(s: &Session) -> Result<()> {
    let path = path("authorizations", s.given.need("id"))?;
    let ended = |a: &Value| format!("done, revoked {}", field(a, "description"));
    let revoked = s.doing_with("Revoking OAuth Authorization", |c| c.delete(&path), ended)?;
    s.show(&revoked, String::new);
    Ok(())
}

fn rotate(s: &Session) -> Result<()> {
    let path = format!("{}/actions/regenerate-tokens", path("authorizations", s.given.need("id"))?);
    let made = s.doing("Rotating OAuth Authorization", |c| c.send("POST", &path, &json!({})))?;
    s.show(&made, || describe(&made));
    Ok(())
}

fn clients(s: &Session) -> Result<()> {
    let all = s.client.list("/oauth/clients")?;
    s.show(&all, || match items(&all) {
        [] => "There are no OAuth clients.\n".into(),
        _ => table(&rows(&all, &["/name", "/id", "/redirect_uri"])),
    });
    Ok(())
}

fn describe_client(s: &Session, client: &Value) -> String {
    if s.given.is("shell") {
        return format!("HEROKU_OAUTH_ID={}\nHEROKU_OAUTH_SECRET={}\n", field(client, "id"), field(client, "secret"));
    }
    let secret = field(client, "secret").to_string();
    let fields =
        [("Id", field(client, "id").to_string()), ("Redirect URI", field(client, "redirect_uri").into()), ("Secret", secret)];
    format!("{}{}", heading(field(client, "name")), labelled(&fields))
}

fn create_client(s: &Session) -> Result<()> {
    let body = json!({ "name": s.given.need("name"), "redirect_uri": s.given.need("redirect_uri") });
    let made = s.doing(&format!("Creating {}", s.given.need("name")), |c| c.send("POST", "/oauth/clients", &body))?;
    s.show(&made, || describe_client(s, &made));
    Ok(())
}

fn client_info(s: &Session) -> Result<()> {
    let found = s.client.get(&path("clients", s.given.need("id"))?)?;
    s.show(&found, || describe_client(s, &found));
    Ok(())
}

fn update_client(s: &Session) -> Result<()> {
    let mut body = Map::new();
    for (flag, key) in [("name", "name"), ("url", "redirect_uri")] {
        s.given.text(flag).into_iter().for_each(|v| {
            body.insert(key.into(), v.into());
        });
    }
    if body.is_empty() {
        return Err(Failure::usage("Say what changes: --name NAME or --url URL."));
    }
    let path = path("clients", s.given.need("id"))?;
    let changed = s.doing("Updating OAuth client", |c| c.send("PATCH", &path, &Value::Object(body)))?;
    s.show(&changed, String::new);
    Ok(())
}

fn rotate_client(s: &Session) -> Result<()> {
    let path = format!("{}/actions/rotate-credentials", path("clients", s.given.need("id"))?);
    let made = s.doing("Rotating the secret", |c| c.send("POST", &path, &json!({})))?;
    s.show(&made, || describe_client(s, &made));
    Ok(())
}

fn destroy_client(s: &Session) -> Result<()> {
    let path = path("clients", s.given.need("id"))?;
    let gone = s.doing("Destroying OAuth client", |c| c.delete(&path))?;
    s.show(&gone, String::new);
    Ok(())
}

fn sessions(s: &Session) -> Result<()> {
    let all = s.client.list("/oauth/sessions")?;
    s.show(&all, || match items(&all) {
        [] => "There are no sessions.\n".into(),
        _ => table(&rows(&all, &["/description", "/id", "/created_at"])),
    });
    Ok(())
}

fn destroy_session(s: &Session) -> Result<()> {
    let path = path("sessions", s.given.need("id"))?;
    let ended = s.doing(&format!("Destroying {}", s.given.need("id")), |c| c.delete(&path))?;
    s.show(&ended, String::new);
    Ok(())
}
