//! Upcasters: what an older version of a schema wrote, as the next version says it.
//!
//! Avro's own rules read an older version where a field that it lacks has a default, and no more is
//! to be known. A step is for where that is not enough: a version that says the same in another
//! way, or whose new field follows from what the old record says. Steps are pure, one from each
//! version to the next, all in [`STEPS`]; a record takes every step from its writer's version on,
//! and then Avro's rules lead to the schema that this code was built with.
//!
//! There is no step yet: every version so far is read by Avro's rules alone.

use apache_avro::Schema;
use apache_avro::types::Value;

/// One step, from a version of a schema to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The schema, as [`SchemaTopic::schema_name`](crate::SchemaTopic::schema_name) has it.
    pub(crate) schema: &'static str,
    /// The version that it takes.
    pub(crate) from: u32,
    /// Takes a record as version `from` lays it out, and gives it as the next one does. An error
    /// says what is wrong with the record, which is then malformed.
    pub(crate) up: fn(Value) -> Result<Value, String>,
}

/// A version of a schema that was written with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) schema: &'static str,
    pub(crate) version: u32,
    pub(crate) text: &'static str,
}

/// Steps, and the versions that they are between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upcasters {
    pub(crate) steps: &'static [Step],
    pub(crate) kept: &'static [Kept],
}

/// Every step that there is.
pub(crate) static STEPS: [Step; 0] = [];

/// Those of this code. A version that a step takes is listed here, out of `schemas/avro/versions`.
pub(crate) static UPCASTERS: Upcasters = Upcasters {
    steps: &STEPS,
    kept: &[],
};

/// The steps that a writer's records take, each with the layout that it takes.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<(Schema, Step)>);

impl Upcasters {
    /// The steps for records of `schema` that were written with `writer`. A version that is not
    /// kept is a newer one, or reads alike, and takes none.
    pub(crate) fn path(&self, schema: &str, writer: &Schema) -> Result<Path, String> {
        let mut versions = Vec::new();
        for kept in self.kept.iter().filter(|kept| kept.schema == schema) {
            let parsed = Schema::parse_str(kept.text).map_err(|error| error.to_string())?;
            versions.push((kept.version, parsed));
        }
        let form = writer.canonical_form();
        let written = versions.iter().find(|(_, of)| of.canonical_form() == form);
        let Some(written) = written.map(|(version, _)| *version) else {
            return Ok(Path::default());
        };
        let of_schema = self.steps.iter().filter(|step| step.schema == schema);
        let mut steps: Vec<Step> = of_schema
            .filter(|step| step.from >= written)
            .copied()
            .collect();
        steps.sort_by_key(|step| step.from);
        let with_layout = steps.into_iter().map(|step| {
            let layout = versions.iter().find(|(version, _)| *version == step.from);
            let layout = layout.map(|(_, layout)| (layout.clone(), step));
            layout.ok_or_else(|| format!("version {} is not kept", step.from))
        });
        with_layout.collect::<Result<_, _>>().map(Path)
    }
}

impl Path {
    /// Takes every step.
    pub(crate) fn up(&self, record: Value) -> Result<Value, String> {
        self.0.iter().try_fold(record, |record, (layout, step)| {
            // From the step before, or over versions that need none.
            let record = record.resolve(layout).map_err(|error| error.to_string())?;
            (step.up)(record)
        })
    }
}
