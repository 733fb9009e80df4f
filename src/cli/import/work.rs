//! Doing it.

use super::{
    plan::{Plan, State},
    say, tell_failure,
};
use crate::{
    failure::{Failure, Result},
    session::Session,
};

/// Does what is missing, and with `--force` what differs. Gives what was done.
///
/// # Errors
/// When the app itself can not be made, or some step failed; the others were tried.
pub fn carry_out(s: &Session, plan: &Plan, to: &str) -> Result<Vec<String>> {
    let force = s.given.is("force");
    let (mut done, mut failed) = (Vec::new(), 0);
    for step in &plan.steps {
        match &step.state {
            State::Same => continue,
            State::AfterCode => {
                say(s, &format!("{}... waits for the first push", step.what));
                continue;
            }
            State::Different(here) if !force => {
                say(s, &format!("{}... left, here it is: {here}", step.what));
                continue;
            }
            State::Different(_) | State::Missing => {}
        }
        match s.client.send(step.method, &step.path, &step.body) {
            Ok(_) => {
                say(s, &format!("{}... done", step.what));
                done.push(step.what.clone());
            }
            // Without the app all that follows would fail for the same reason.
            Err(failure) if step.path == "/apps" => return Err(failure),
            Err(failure) if failure.exit == 4 && step.path.contains("/features/") => {
                say(s, &format!("{}... left, this server has no such feature", step.what));
            }
            Err(failure) => {
                tell_failure(&step.what, &failure);
                failed += 1;
            }
        }
    }
    if failed > 0 {
        let text = format!("{failed} of {} steps for {to} failed; the same command again tries only those.", plan.steps.len());
        return Err(Failure { text, exit: 1 });
    }
    Ok(done)
}
