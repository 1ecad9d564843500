//! A projection's versions, read and changed.

use anyhow::{Context as _, anyhow, bail};
use cartwright_projector::Plan;
use cartwright_read_model::control::Control;
use cartwright_read_model::versions::{Refused, Version, Versions};
use cartwright_read_model::{Position, PositionKey, Projection, ReadModelError, declaration};

use crate::context::{Context, known};

/// How often a change is tried again that somebody else came before.
const ATTEMPTS: u32 = 5;

/// A projection and the control tables of its store.
pub struct Home<'a> {
    context: &'a Context,
    /// The projection, as the newest version is declared.
    pub projection: &'static Projection,
    /// The control tables.
    pub control: Control,
}

impl<'a> Home<'a> {
    /// Connects to the store of the projection called `name`.
    ///
    /// # Errors
    /// An unknown projection, or a store that does not answer.
    pub fn open(context: &'a Context, name: &str) -> anyhow::Result<Self> {
        let projection = known(name)?;
        let control = context.ask(projection.store, context.stores.control(projection.store))?;
        Ok(Self {
            context,
            projection,
            control,
        })
    }

    /// The versions that there are; `None` before the first projector.
    ///
    /// # Errors
    /// What the store said.
    pub fn find(&self) -> anyhow::Result<Option<Versions>> {
        let versions = self.control.versions(self.projection.name);
        self.ask(versions)
    }

    /// The versions that there are.
    ///
    /// # Errors
    /// What the store said; also when no projector has run yet.
    pub fn versions(&self) -> anyhow::Result<Versions> {
        self.find()?.ok_or_else(|| {
            anyhow!(
                "{} has no version yet: no projector has run over this store",
                self.projection.name
            )
        })
    }

    /// Stores the first revision. Answers whether it was taken: not when there is one already.
    ///
    /// # Errors
    /// What the store said.
    pub fn begin(&self, first: &Versions) -> anyhow::Result<bool> {
        let stored = self.control.store_versions(self.projection.name, first);
        self.ask(stored)
    }

    /// Makes and stores the next revision.
    ///
    /// # Errors
    /// [`Refused`], what the store said, or others that keep changing it too.
    pub fn change(
        &self,
        change: impl Fn(&Versions) -> Result<Versions, Refused>,
    ) -> anyhow::Result<Versions> {
        for _ in 0..ATTEMPTS {
            let next = change(&self.versions()?)?;
            let stored = self.control.store_versions(self.projection.name, &next);
            if self.ask(stored)? {
                return Ok(next);
            }
        }
        bail!(
            "somebody else changes the versions of {} as well",
            self.projection.name
        )
    }

    /// How a version is built by this code.
    ///
    /// # Errors
    /// When this code declares something else than what it was begun with.
    pub fn plan(&self, version: &Version) -> anyhow::Result<Plan> {
        let name = self.projection.name;
        let declared = declaration(name, version.declared).with_context(|| {
            format!(
                "{name}@{} is built by version {}, which this code does not declare",
                version.number, version.declared
            )
        })?;
        if declared.identity() != version.identity {
            bail!(
                "{name}@{} was begun with fold version {}, and this code declares fold version {} \
                 or other tables: begin a new version",
                version.number,
                version.identity.fold_version,
                declared.fold_version
            );
        }
        Ok(Plan::of(
            declared,
            version.number,
            self.context.generation(),
        )?)
    }

    /// How far a version is.
    ///
    /// # Errors
    /// What the store said.
    pub fn positions(&self, number: u32) -> anyhow::Result<Vec<(PositionKey, Position)>> {
        let positions = self.control.positions(self.projection, number);
        self.ask(positions)
    }

    /// Events of this log that a version holds.
    ///
    /// # Errors
    /// What the store said.
    pub fn events(&self, number: u32) -> anyhow::Result<u64> {
        let positions = self.positions(number)?.into_iter();
        let generation = self.context.generation();
        let of_this_log = positions.filter(|(_, position)| position.generation == generation);
        Ok(of_this_log.map(|(_, position)| position.seq).sum())
    }

    /// Waits for what the projection's store answers at once when it is well.
    ///
    /// # Errors
    /// As [`Context::ask`].
    pub fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, ReadModelError>>,
    ) -> anyhow::Result<T> {
        self.context.ask(self.projection.store, question)
    }

    /// `name@number`.
    #[must_use]
    pub fn label(&self, number: u32) -> String {
        format!("{}@{number}", self.projection.name)
    }
}

/// The number of the version that is read; the newest declared one before the first projector.
///
/// # Errors
/// A store that does not answer.
pub fn current(context: &Context, projection: &Projection) -> anyhow::Result<u32> {
    let versions = Home::open(context, projection.name)?.find()?;
    Ok(versions.map_or(projection.version, |versions| versions.current))
}
