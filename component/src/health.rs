//! What `/healthz`, `/livez` and `/readyz` of a component answer.

use std::sync::Arc;

use parking_lot::Mutex;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A component's named checks; clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<(&'static str, Check)>>>);

impl Health {
    /// Adds a check, which must answer at once.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.lock().push((name, Box::new(check)));
    }

    /// The HTTP code and the text of an answer. `path` is `/healthz`, `/livez` or `/readyz`; `verbose` lists the checks, which a failure
    /// does in any case. Reasons of failures are not shown, as upstream withholds them; they go to the log.
    pub fn render(&self, path: &str, verbose: bool) -> (u16, String) {
        let endpoint = path.trim_matches('/');
        let mut text = String::from("[+]ping ok\n");
        let mut failed = false;
        for (name, check) in self.0.lock().iter() {
            match check() {
                Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
                Err(reason) => {
                    tracing::warn!(check = name, reason, "a health check fails");
                    failed = true;
                    text.push_str(&format!("[-]{name} failed: reason withheld\n"));
                }
            }
        }
        match (failed, verbose) {
            (true, _) => (500, format!("{text}{endpoint} check failed\n")),
            (false, true) => (200, format!("{text}{endpoint} check passed\n")),
            (false, false) => (200, "ok".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lists_the_checks() {
        let health = Health::default();
        health.check("a", || Ok(()));
        assert_eq!(health.render("/readyz", false), (200, "ok".to_owned()));
        health.check("b", || Err("secret".into()));
        let (code, text) = health.render("/readyz", false);
        assert_eq!(code, 500);
        assert_eq!(text, "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\nreadyz check failed\n");
    }
}
