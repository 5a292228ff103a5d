//! Telling DNS probes apart by upper and lower case: no two that ask for one name at the same time write it alike.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

/// Letters of a name that are used; more would only make the number overflow.
const LETTERS: usize = 24;

#[derive(Default)]
struct Writings {
    /// Spellings in use.
    taken: BTreeSet<u32>,
    /// Where to look for a free one: spellings come back as late as possible, since a forwarder may still try a
    /// question its asker has given up.
    next: u32,
}

struct Registry {
    names: Mutex<HashMap<String, Writings>>,
    freed: Notify,
}

impl Registry {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Writings>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry { names: Mutex::default(), freed: Notify::new() })
}

/// One spelling of a name, this probe's alone until dropped.
#[derive(Debug)]
pub(crate) struct Spelling {
    plain: String,
    pattern: Option<u32>,
}

impl Spelling {
    /// A spelling of `name` that nobody else has; waits while all are taken. A name without letters has one spelling,
    /// which is shared. A final dot is dropped.
    pub(crate) async fn take(name: &str) -> Self {
        let plain = name.trim_end_matches('.').to_ascii_lowercase();
        let letters = plain.bytes().filter(u8::is_ascii_lowercase).count().min(LETTERS);
        if letters == 0 {
            return Self { plain, pattern: None };
        }
        loop {
            let freed = registry().freed.notified();
            if let Some(pattern) = free(registry().names().entry(plain.clone()).or_default(), 1 << letters) {
                return Self { plain, pattern: Some(pattern) };
            }
            freed.await;
        }
    }

    /// The name as this probe writes it.
    pub(crate) fn written(&self) -> String {
        spell(&self.plain, self.pattern.unwrap_or(0))
    }
}

impl Drop for Spelling {
    fn drop(&mut self) {
        if let Some(pattern) = self.pattern {
            if let Some(writings) = registry().names().get_mut(&self.plain) {
                writings.taken.remove(&pattern);
            }
            registry().freed.notify_waiters();
        }
    }
}

/// Takes the next free pattern below `count`. Pattern 0, all lower case, is left to everybody else.
fn free(writings: &mut Writings, count: u32) -> Option<u32> {
    let pattern = (0..count - 1)
        .map(|step| 1 + (writings.next + step) % (count - 1))
        .find(|pattern| !writings.taken.contains(pattern))?;
    writings.next = pattern % (count - 1);
    writings.taken.insert(pattern);
    Some(pattern)
}

/// Writes letter n in upper case where bit n of `pattern` is set.
fn spell(plain: &str, pattern: u32) -> String {
    let mut letter = 0;
    plain
        .chars()
        .map(|character| {
            if !character.is_ascii_lowercase() {
                return character;
            }
            letter += 1;
            if letter <= LETTERS && pattern >> (letter - 1) & 1 == 1 {
                character.to_ascii_uppercase()
            } else {
                character
            }
        })
        .collect()
}
