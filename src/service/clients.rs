//! Programs that people may let in by the web flow: the OAuth 2 code grant with PKCE (`platform-api.md` section 4.7).

use crate::{
    Action, Ctx, Error, On, Result, Service, access,
    auth::{NewToken, drop_token, hash, random_key},
    passwords::same_secret,
    tokens,
    tokens::{CLIENT_TOKEN_MS, parse_scopes, renew},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    AccountId, EventBody, Scope, Token,
    sign_in::{AuthorizationCode, Client},
};
use ring::digest::{SHA256, digest};
use std::net::IpAddr;
use store::{ReadRows, Tx, tables, tables::SealedChunk};
use uuid::Uuid;

/// A code is good this long.
const CODE_MS: u64 = 5 * 60 * 1000;
/// Clients of one account.
const CLIENTS_MAX: usize = 100;
/// Characters of a name, bytes of a redirect URI.
const NAME_MAX: usize = 100;
const URI_MAX: usize = 1000;

/// What changes about a client.
#[derive(Clone, Debug, Default)]
pub struct ClientChange {
    /// Its name.
    pub name: Option<String>,
    /// Where people are sent back to.
    pub redirect_uri: Option<String>,
}

/// What a client asks in the browser, as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The client's id.
    pub client_id: String,
    /// Must be `code`.
    pub response_type: String,
    /// Words with blanks between them; none for `identity`.
    pub scope: String,
    /// Must be the one that was registered, if it is there.
    pub redirect_uri: Option<String>,
    /// RFC 7636.
    pub code_challenge: Option<String>,
    /// Must be `S256`.
    pub code_challenge_method: Option<String>,
}

/// A request that may be put to a person.
#[derive(Clone, Debug)]
pub struct Consent {
    /// Who asks.
    pub client: Client,
    /// For what.
    pub scopes: Vec<Scope>,
    challenge: Option<String>,
}

/// Tokens for a client.
pub struct Issued {
    /// The authorization.
    pub token: Token,
    /// Access token.
    pub access: String,
    /// Refresh token.
    pub refresh: String,
}

fn missing() -> Error {
    Error::not_found("client", "Couldn't find that OAuth client.")
}

fn invalid_grant(text: &str) -> Error {
    Error { id: "invalid_grant", ..Error::invalid(text) }
}

fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local"),
    }
}

/// Host name of an `http` or `https` address without user, fragment or characters that do not belong there.
fn check_uri(uri: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(format!("The redirect_uri {why}.")));
    if uri.len() > URI_MAX || uri.bytes().any(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}#;,'".contains(&b)) {
        return wrong("has characters that do not belong there, a fragment, or is too long");
    }
    let Some((scheme, rest)) = uri.split_once("://") else { return wrong("must begin with https://") };
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) if !authority.ends_with(']') => return wrong("has no valid port"),
        _ => authority,
    };
    if host.is_empty() || authority.contains('@') {
        return wrong("needs a host and no user");
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_near(host) => Ok(()),
        _ => wrong("must begin with https://, but for localhost, .local and private addresses"),
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("The name of a client has 1 to {NAME_MAX} characters.")));
    }
    Ok(())
}

fn context(id: Uuid) -> Vec<u8> {
    format!("client:{id}").into_bytes()
}

fn own(rows: &impl ReadRows, ctx: &Ctx, id: &str) -> Result<Client> {
    let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
    let client = rows.get(&tables::CLIENTS, &id)?;
    client.filter(|client| Some(client.account) == ctx.account()).ok_or_else(missing)
}

/// The proof that RFC 7636 asks for.
fn proves(challenge: &str, verifier: Option<&str>) -> bool {
    verifier.is_some_and(|text| same_secret(challenge, &URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))))
}

fn write(tx: &mut Tx, ctx: &Ctx, client: &Client) -> Result<()> {
    tx.put(&tables::CLIENTS, &client.id, client)?;
    tx.event(ctx.now, None, ctx.origin(), EventBody::ClientChanged { client: client.id })?;
    Ok(())
}

/// With its client goes all that it was given.
fn remove(tx: &mut Tx, ctx: &Ctx, id: Uuid) -> Result<()> {
    for key in tx.scan(&tables::TOKEN_BY_ID, &())? {
        if let Some(token) = tx.get(&tables::TOKENS, &key)?.filter(|token| token.client == Some(id)) {
            drop_token(tx, ctx, token.id, &key)?;
        }
    }
    for (key, _) in tx.scan(&tables::CODES, &())?.into_iter().filter(|(_, code)| code.client == id) {
        tx.delete(&tables::CODES, &key);
    }
    tx.delete(&tables::CLIENTS, &id);
    tx.event(ctx.now, None, ctx.origin(), EventBody::ClientChanged { client: id })?;
    Ok(())
}

/// Removes all clients of an account.
pub(crate) fn drop_all(tx: &mut Tx, ctx: &Ctx, account: AccountId) -> Result<()> {
    for client in tx.scan(&tables::CLIENTS, &())?.into_iter().filter(|client| client.account == account) {
        remove(tx, ctx, client.id)?;
    }
    for (key, _) in tx.scan(&tables::CODES, &())?.into_iter().filter(|(_, code)| code.account == account) {
        tx.delete(&tables::CODES, &key);
    }
    Ok(())
}

fn refreshed_by(rows: &impl ReadRows, refresh: &str) -> Result<Option<(String, Token)>> {
    let wanted = hash(refresh);
    for key in rows.scan(&tables::TOKEN_BY_ID, &())? {
        let token = rows.get(&tables::TOKENS, &key)?;
        if let Some(token) = token.filter(|token| token.refresh.as_ref().is_some_and(|(_, hash)| *hash == wanted)) {
            return Ok(Some((key, token)));
        }
    }
    Ok(None)
}

impl Service {
    fn sealed_secret(&self, id: Uuid) -> Result<String> {
        let sealed = self.parts().sealer.seal(&context(id), random_key()?.as_bytes())?.pop();
        Ok(sealed.ok_or_else(|| Error::internal("nothing sealed"))?.0)
    }

    /// The secret of a client, which its owner sees.
    ///
    /// # Errors
    /// When it does not open.
    pub fn client_secret(&self, client: &Client) -> Result<String> {
        let plain = self.parts().sealer.open(&context(client.id), &[SealedChunk(client.secret.clone())])?;
        String::from_utf8(plain).map_err(|e| Error::internal(e.to_string()))
    }

    /// Registers a client of the actor's.
    ///
    /// # Errors
    /// `invalid_params` for name or address, `forbidden`.
    pub async fn create_client(&self, ctx: &Ctx, name: String, redirect_uri: String) -> Result<Client> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let account = ctx.account().ok_or_else(Error::unauthorized)?;
        check_name(&name)?;
        check_uri(&redirect_uri)?;
        let id = Uuid::new_v4();
        let secret = self.sealed_secret(id)?;
        let client = Client { id, account, name, redirect_uri, secret, created_at: ctx.now, updated_at: ctx.now };
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                if tx.scan(&tables::CLIENTS, &())?.iter().filter(|client| client.account == account).count() >= CLIENTS_MAX {
                    return Err(Error::conflict(format!("An account has at most {CLIENTS_MAX} clients.")));
                }
                write(tx, &ctx, &client)?;
                Ok(client)
            })
            .await
    }

    /// The actor's clients.
    ///
    /// # Errors
    /// `forbidden` for a token of a narrow scope.
    pub fn clients(&self, ctx: &Ctx) -> Result<Vec<Client>> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let all = self.store().scan(&tables::CLIENTS, &())?;
        Ok(all.into_iter().filter(|client| Some(client.account) == ctx.account()).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn client(&self, ctx: &Ctx, id: &str) -> Result<Client> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        own(self.store(), ctx, id)
    }

    /// A client's name and address by id, for showing.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn client_of(&self, token: &Token) -> Result<Option<Client>> {
        Ok(token.client.map(|id| self.store().get(&tables::CLIENTS, &id)).transpose()?.flatten())
    }

    /// Changes it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn update_client(&self, ctx: &Ctx, id: &str, change: ClientChange) -> Result<Client> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        change.name.as_deref().map_or(Ok(()), check_name)?;
        change.redirect_uri.as_deref().map_or(Ok(()), check_uri)?;
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let mut client = own(tx, &ctx, &id)?;
                client.name = change.name.unwrap_or(client.name);
                client.redirect_uri = change.redirect_uri.unwrap_or(client.redirect_uri);
                client.updated_at = ctx.now;
                write(tx, &ctx, &client)?;
                Ok(client)
            })
            .await
    }

    /// Gives it another secret.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn rotate_client(&self, ctx: &Ctx, id: &str) -> Result<Client> {
        let client = self.client(ctx, id)?;
        let secret = self.sealed_secret(client.id)?;
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let client = Client { secret, updated_at: ctx.now, ..own(tx, &ctx, &id)? };
                write(tx, &ctx, &client)?;
                Ok(client)
            })
            .await
    }

    /// Removes it, and takes back what people gave it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn delete_client(&self, ctx: &Ctx, id: &str) -> Result<Client> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let client = own(tx, &ctx, &id)?;
                remove(tx, &ctx, client.id)?;
                Ok(client)
            })
            .await
    }

    /// Reads what a client asks for. Nobody is sent back when the client or its address are not known.
    ///
    /// # Errors
    /// `not_found` for the client, `invalid_params` for all else.
    pub fn consent(&self, request: &Request) -> Result<Consent> {
        let id = domain::ids::parse_uuid(&request.client_id).map_err(|_| missing())?;
        let client = self.store().get(&tables::CLIENTS, &id)?.ok_or_else(missing)?;
        if request.redirect_uri.as_ref().is_some_and(|uri| *uri != client.redirect_uri) {
            return Err(Error::invalid("The redirect_uri is not the one that was registered for this client."));
        }
        if request.response_type != "code" {
            return Err(Error::invalid("Only response_type=code is served."));
        }
        let method = request.code_challenge_method.as_deref();
        match &request.code_challenge {
            Some(text) if method != Some("S256") || text.len() != 43 => {
                return Err(Error::invalid("A code_challenge is 43 characters, made with code_challenge_method=S256."));
            }
            None if method.is_some() => return Err(Error::invalid("The code_challenge is missing.")),
            _ => {}
        }
        let scopes = parse_scopes(request.scope.split_whitespace())?;
        let scopes = if scopes.is_empty() { vec![Scope::Identity] } else { scopes };
        Ok(Consent { client, scopes, challenge: request.code_challenge.clone() })
    }

    /// The person agreed: a code for the client.
    ///
    /// # Errors
    /// `forbidden`, and when it can not be stored.
    pub async fn grant_code(&self, ctx: &Ctx, consent: Consent) -> Result<String> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let account = ctx.account().ok_or_else(Error::unauthorized)?;
        let (secret, now) = (random_key()?, ctx.now);
        let key = hash(&secret);
        let code = AuthorizationCode {
            account,
            client: consent.client.id,
            scopes: consent.scopes,
            challenge: consent.challenge,
            expires_at: now.plus_ms(CODE_MS),
            used: None,
        };
        self.store()
            .commit(move |tx| -> Result<()> {
                for (old, _) in tx.scan(&tables::CODES, &())?.into_iter().filter(|(_, code)| code.expires_at <= now) {
                    tx.delete(&tables::CODES, &old);
                }
                Ok(tx.put(&tables::CODES, &key, &(key.clone(), code))?)
            })
            .await?;
        Ok(secret)
    }

    fn knows_secret(&self, id: Uuid, secret: &str) -> Result<bool> {
        let Some(client) = self.store().get(&tables::CLIENTS, &id)? else { return Ok(false) };
        Ok(same_secret(&self.client_secret(&client)?, secret))
    }

    /// Turns a code into tokens. A code that comes twice was stolen: what it became ends.
    ///
    /// # Errors
    /// `invalid_grant` for a code that is unknown, used or too old, without its proof, or of another client.
    pub async fn use_code(
        &self,
        address: Option<IpAddr>,
        code: &str,
        client_secret: &str,
        verifier: Option<&str>,
    ) -> Result<Issued> {
        let now = self.parts().clock.now();
        let ctx = Ctx { address, ..Ctx::platform(now) };
        let (key, refused) = (hash(code), || {
            invalid_grant("The code is unknown, was used already or is too old, or the client's secret is wrong.")
        });
        let (_, row) = self.store().get(&tables::CODES, &key)?.filter(|(_, row)| row.expires_at > now).ok_or_else(refused)?;
        if !self.knows_secret(row.client, client_secret)? {
            return Err(refused());
        }
        if row.challenge.as_deref().is_some_and(|challenge| !proves(challenge, verifier)) {
            return Err(invalid_grant("The code_verifier does not fit the code_challenge."));
        }
        let refresh = random_key()?;
        let made = refresh.clone();
        let issued = self
            .store()
            .commit(move |tx| {
                let (_, mut row) = tx.get(&tables::CODES, &key)?.ok_or_else(refused)?;
                if let Some(id) = row.used {
                    if let Some(token) = tx.get(&tables::TOKEN_BY_ID, &id)? {
                        drop_token(tx, &ctx, id, &token)?;
                    }
                    return Ok::<_, Error>(None);
                }
                let new = NewToken {
                    account: row.account,
                    description: client_name(tx, row.client)?,
                    scopes: row.scopes.clone(),
                    app: None,
                    client: Some((row.client, hash(&refresh))),
                    expires_at: Some(now.plus_ms(CLIENT_TOKEN_MS)),
                };
                let issued = tokens::issue(tx, &ctx, new)?;
                row.used = Some(issued.0.id);
                tx.put(&tables::CODES, &key, &(key.clone(), row))?;
                Ok(Some(issued))
            })
            .await?;
        let (token, access) = issued.ok_or_else(refused)?;
        Ok(Issued { token, access, refresh: made })
    }

    /// A new access token for a refresh token.
    ///
    /// # Errors
    /// `invalid_grant`.
    pub async fn use_refresh(&self, address: Option<IpAddr>, refresh: &str, client_secret: &str) -> Result<Issued> {
        let refused = || invalid_grant("The refresh token is unknown, or the client's secret is wrong.");
        let found = refreshed_by(self.store(), refresh)?;
        let client = found.and_then(|(_, token)| token.client).ok_or_else(refused)?;
        if !self.knows_secret(client, client_secret)? {
            return Err(refused());
        }
        let ctx = Ctx { address, ..Ctx::platform(self.parts().clock.now()) };
        let given = refresh.to_string();
        self.store()
            .commit(move |tx| {
                let (key, token) = refreshed_by(tx, &given)?.ok_or_else(refused)?;
                let (token, access) = renew(tx, &ctx, &key, token)?;
                Ok(Issued { token, access, refresh: given })
            })
            .await
    }
}

fn client_name(rows: &impl ReadRows, id: Uuid) -> Result<String> {
    Ok(rows.get(&tables::CLIENTS, &id)?.ok_or_else(missing)?.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_go_to_https_or_near_by() {
        for good in [
            "https://x.example/cb?a=1",
            "http://localhost:3000/cb",
            "http://10.1.2.3/",
            "http://[::1]:80/",
            "http://pi.local",
            "https://x:8443",
        ] {
            assert_eq!(check_uri(good), Ok(()), "{good}");
        }
        for bad in [
            "http://x.example/",
            "https://",
            "javascript:alert(1)",
            "https://a@b/",
            "https://x/#f",
            "http://localhost.evil.example/",
            "https://x y/",
            "https://x:port/",
            "//x",
            "http://8.8.8.8/",
            "https://x/;script-src",
        ] {
            assert!(check_uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_example_of_rfc_7636_proves() {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(proves(challenge, Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")));
        assert!(!proves(challenge, Some("other")) && !proves(challenge, None));
    }
}
