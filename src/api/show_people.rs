//! From rows of people, teams and shares to wire types.

use domain::{Account, Event, Membership, Role, Team, team::Invitation, team::Transfer};
use service::{Error, Service, Shared};
use uuid::Uuid;
use wire::{NameRef, UserRef, time};

/// Address of an invitation; its page accepts it.
pub fn invite_url(service: &Service, secret: &str) -> String {
    let addresses = service.addresses();
    format!("{}/invite/{secret}", addresses.url(&addresses.domain))
}

/// Somebody on this installation.
pub fn person(account: &Account) -> wire::Person {
    wire::Person {
        id: account.id.0,
        email: account.email.clone(),
        name: account.name.clone(),
        role: account.role.as_str().into(),
        state: "active".into(),
        two_factor_authentication: account.two_factor,
        created_at: time(account.created_at.0),
        last_login: account.last_login.map(|t| time(t.0)),
        invite_url: None,
        expires_at: None,
    }
}

/// Somebody who was asked to come.
pub fn invited(invitation: &Invitation, url: Option<String>) -> wire::Person {
    wire::Person {
        id: invitation.id,
        email: invitation.email.clone(),
        name: None,
        role: invitation.role.as_str().into(),
        state: "invited".into(),
        two_factor_authentication: false,
        created_at: time(invitation.created_at.0),
        last_login: None,
        invite_url: url,
        expires_at: Some(time(invitation.expires_at.0)),
    }
}

/// A team as somebody with `role` in it sees it.
pub fn team(team: &Team, role: Role) -> wire::Team {
    wire::Team {
        id: team.id.0,
        name: team.name.clone(),
        created_at: time(team.created_at.0),
        credit_card_collections: false,
        default: false,
        enterprise_account: None,
        identity_provider: None,
        membership_limit: None,
        provisioned_licenses: false,
        role: Some(role.as_str().into()),
        kind: "team".into(),
        updated_at: time(team.updated_at.0),
    }
}

fn named_user(account: &Account) -> wire::NamedUser {
    wire::NamedUser { id: account.id.0, email: account.email.clone(), name: account.name.clone() }
}

/// A member of a team.
pub fn member(member: &Membership, account: &Account) -> wire::TeamMember {
    wire::TeamMember {
        id: member.id,
        created_at: time(member.created_at.0),
        email: account.email.clone(),
        federated: false,
        identity_provider: None,
        role: Some(member.role.as_str().into()),
        two_factor_authentication: account.two_factor,
        updated_at: time(member.updated_at.0),
        user: named_user(account),
    }
}

/// An invitation to a team. Who is not here yet is shown by the invitation's own id.
pub fn team_invitation(
    service: &Service,
    team: &Team,
    invitation: &Invitation,
    url: Option<String>,
) -> Result<wire::TeamInvitation, Error> {
    let user = wire::NamedUser { id: invitation.id, email: invitation.email.clone(), name: None };
    Ok(wire::TeamInvitation {
        id: invitation.id,
        created_at: time(invitation.created_at.0),
        invited_by: named_user(&service.account(invitation.by)?),
        team: NameRef { id: team.id.0, name: team.name.clone() },
        role: Some(invitation.role.as_str().into()),
        updated_at: time(invitation.created_at.0),
        user,
        invite_url: url,
    })
}

/// What a permission lets somebody do.
pub fn permission(name: &str) -> wire::Permission {
    let description = match name {
        "view" => "See the app, its releases, dynos and logs.",
        "deploy" => "Build and release.",
        "operate" => "Scale, configure, see config vars, run commands.",
        _ => "Rename, share, hand over and destroy the app.",
    };
    wire::Permission { name: name.into(), description: description.into() }
}

/// Somebody who works on an app.
pub fn collaborator(app: &domain::App, shared: &Shared) -> wire::Collaborator {
    let role = if shared.owner { "owner" } else { "collaborator" };
    wire::Collaborator {
        id: shared.id,
        app: NameRef { id: app.id.0, name: app.name.clone() },
        created_at: time(shared.created_at.0),
        permissions: shared.rights.words().into_iter().map(permission).collect(),
        role: Some(role.into()),
        updated_at: time(shared.updated_at.0),
        user: wire::SharedUser { id: shared.account.id.0, email: shared.account.email.clone(), federated: false },
    }
}

/// An app that is offered to somebody. `name` is the app's.
pub fn transfer(service: &Service, transfer: &Transfer, name: &str) -> Result<wire::AppTransfer, Error> {
    let user = |id| -> Result<UserRef, Error> {
        let account = service.account(id)?;
        Ok(UserRef { id: account.id.0, email: account.email })
    };
    Ok(wire::AppTransfer {
        id: transfer.id,
        app: NameRef { id: transfer.app.0, name: name.into() },
        created_at: time(transfer.created_at.0),
        owner: user(transfer.owner)?,
        recipient: user(transfer.recipient)?,
        state: transfer.state.as_str().into(),
        updated_at: time(transfer.updated_at.0),
    })
}

/// One line of the audit list.
pub fn event(service: &Service, event: &Event) -> Result<wire::Event, Error> {
    let mut data = serde_json::to_value(&event.body).map_err(|e| Error::internal(e.to_string()))?;
    let action = data.as_object_mut().and_then(|map| map.remove("type"));
    let actor = match event.actor {
        Some(id) => Some(service.account(id)?).map(|a| UserRef { id: a.id.0, email: a.email }),
        None => None,
    };
    // The id of an app that is gone is all that is left of it.
    let app = event.app.map(|id| NameRef { id: id.0, name: service.app_name(id).unwrap_or_default() });
    Ok(wire::Event {
        seq: event.seq,
        created_at: time(event.at.0),
        action: action.as_ref().and_then(|a| a.as_str()).unwrap_or("unknown").into(),
        data,
        app,
        actor,
        address: event.address.map(|a| a.to_string()),
        request_id: event.request_id.clone(),
        root: event.root,
    })
}

/// The id that stands for a feature of a team: the same for ever.
pub fn feature_id(name: &str) -> Uuid {
    let mut bytes = [0x71u8; 16];
    for (place, byte) in name.bytes().enumerate() {
        bytes[place % 16] = bytes[place % 16].wrapping_mul(31).wrapping_add(byte);
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
