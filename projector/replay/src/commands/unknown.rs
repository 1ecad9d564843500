//! Projections of which nothing can be told, mostly since their store does not answer: what is known of the
//! others is told all the same.

use std::collections::BTreeMap;

use anyhow::anyhow;
use cartwright_read_model::{Projection, Store};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::registry::Home;

/// The stores that did not answer, and what they said: each is waited for once and not for every projection.
#[derive(Default)]
pub(super) struct Away(BTreeMap<Store, String>);

impl Away {
    /// Connects to the store of a projection.
    ///
    /// # Errors
    /// A store that does not answer, or did not a moment ago.
    pub(super) fn open<'a>(
        &mut self,
        context: &'a Context,
        projection: &Projection,
    ) -> anyhow::Result<Home<'a>> {
        if let Some(said) = self.0.get(&projection.store) {
            return Err(anyhow!("{said}"));
        }
        Home::open(context, projection.name).inspect_err(|error| {
            self.0.insert(projection.store, format!("{error:#}"));
        })
    }
}

/// Something that is told of a projection, or why nothing is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Told<T> {
    /// What there is to tell.
    Known(T),
    /// What stands in the way.
    Unknown(Unknown),
}

/// A projection of which nothing can be told.
#[derive(Debug, Serialize)]
pub(super) struct Unknown {
    projection: &'static str,
    store: &'static str,
    /// What stands in the way.
    error: String,
}

impl<T> Told<T> {
    /// Takes a failure in place of what would have been told.
    pub(super) fn unknown(projection: &Projection, error: &anyhow::Error) -> Self {
        Self::Unknown(Unknown {
            projection: projection.name,
            store: projection.store.name(),
            error: format!("{error:#}"),
        })
    }

    fn known(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(known),
            Self::Unknown(_) => None,
        }
    }
}

/// What is known.
pub(super) fn known<T>(told: &[Told<T>]) -> impl Iterator<Item = &T> {
    told.iter().filter_map(Told::known)
}

/// Lines about what is not known.
pub(super) fn text<T>(told: &[Told<T>]) -> String {
    let lines = told.iter().filter_map(|each| match each {
        Told::Known(_) => None,
        Told::Unknown(of) => Some(format!(
            "\n{} ({}): nothing can be told: {}",
            of.projection, of.store, of.error
        )),
    });
    lines.collect()
}

/// Done, when everything is known.
pub(super) fn exit<T>(told: &[Told<T>]) -> Exit {
    match told.iter().all(|each| each.known().is_some()) {
        true => Exit::Done,
        false => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use cartwright_read_model::tables::projections::{CARTS, SALES};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_told_beside_what_is_not_and_the_exit_code_says_that_something_is_missing() {
        let error = anyhow!("refused").context("cannot connect");
        let told = [Told::Known("one"), Told::unknown(&CARTS, &error)];
        assert_eq!(known(&told).collect::<Vec<_>>(), [&"one"]);
        assert_eq!(exit(&told), Exit::Failed);
        assert_eq!(exit(&told[..1]), Exit::Done);
        let said = text(&told);
        assert!(
            said.contains("carts (cassandra)") && said.contains("cannot connect: refused"),
            "{said}"
        );
        assert_eq!(text(&told[..1]), "");
        let unknown = json!({
            "projection": "carts", "store": "cassandra", "error": "cannot connect: refused",
        });
        assert_eq!(
            serde_json::to_value(&told).unwrap(),
            json!(["one", unknown])
        );
        let other: Told<()> = Told::unknown(&SALES, &error);
        assert_eq!(serde_json::to_value(&other).unwrap()["store"], "postgres");
    }
}
