//! FULL_TRANSITIVE, without a registry: whether records of either of two schemas can be read with
//! the other, and say the same.
//!
//! Stricter than Avro's own resolution where that would let a fact be lost: a branch once there
//! stays (renaming one is removing it), a field keeps its type, logical type and default. Avro's
//! promotions (int to long) never hold both ways, so types have to be alike.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, ResolvedSchema, SchemaKind};
use apache_avro::schema_compatibility::SchemaCompatibility;

/// Deeper than any schema is nested; a bound for recursive ones.
const MAX_DEPTH: usize = 32;

/// What stands between the two schemas; empty when either reads the other's records.
#[must_use]
pub fn problems(kept: &str, current: &str) -> Vec<String> {
    let (kept, current) = match (Schema::parse_str(kept), Schema::parse_str(current)) {
        (Ok(kept), Ok(current)) => (kept, current),
        (Err(error), _) | (_, Err(error)) => return vec![format!("is no Avro schema: {error}")],
    };
    let names = (Names::of(&kept), Names::of(&current));
    let mut found = Vec::new();
    if let (Schema::Record(kept), Schema::Record(current)) = (&kept, &current) {
        if kept.name.fullname(None) != current.name.fullname(None) {
            found.push(format!(
                "the record is {}, was {}",
                current.name.fullname(None),
                kept.name.fullname(None)
            ));
        }
        for field in &kept.fields {
            if !current.lookup.contains_key(&field.name) {
                found.push(format!(
                    "{} was removed or renamed: what was written with it could not be read",
                    field.name
                ));
            }
        }
    }
    compare("", (&kept, &current), &names, 0, &mut found);
    // A second opinion, which alone is too lax: it knows no branches and no defaults.
    for (writer, reader, direction) in [
        (&kept, &current, "older records are not readable"),
        (&current, &kept, "older readers cannot read it"),
    ] {
        if found.is_empty()
            && let Err(error) = SchemaCompatibility::can_read(writer, reader)
        {
            found.push(format!("{direction}: {error}"));
        }
    }
    found
}

/// A schema's named types.
struct Names<'a>(HashMap<Name, &'a Schema>);

impl<'a> Names<'a> {
    fn of(schema: &'a Schema) -> Self {
        Self(
            ResolvedSchema::try_from(schema)
                .map(|resolved| resolved.get_names().clone())
                .unwrap_or_default(),
        )
    }

    /// The definition behind a reference. A schema has one namespace, so simple names do.
    fn definition(&self, schema: &'a Schema) -> &'a Schema {
        let Schema::Ref { name } = schema else {
            return schema;
        };
        self.0
            .iter()
            .find(|(known, _)| known.name == name.name)
            .map_or(schema, |(_, definition)| definition)
    }
}

fn compare<'a>(
    path: &str,
    (kept, current): (&'a Schema, &'a Schema),
    names: &(Names<'a>, Names<'a>),
    depth: usize,
    found: &mut Vec<String>,
) {
    if depth > MAX_DEPTH {
        found.push(format!("{path} is nested deeper than {MAX_DEPTH}"));
        return;
    }
    let kept = names.0.definition(kept);
    let current = names.1.definition(current);
    match (kept, current) {
        (Schema::Record(kept), Schema::Record(current)) => {
            compare_records(path, kept, current, names, depth, found);
        }
        (Schema::Union(kept), Schema::Union(current))
            if kept.variants().len() == current.variants().len() =>
        {
            for pair in kept.variants().iter().zip(current.variants()) {
                compare(path, pair, names, depth + 1, found);
            }
        }
        (Schema::Array(kept), Schema::Array(current)) => {
            compare(
                &format!("{path}[]"),
                (&kept.items, &current.items),
                names,
                depth + 1,
                found,
            );
        }
        (Schema::Enum(_) | Schema::Fixed(_) | Schema::Map(_), _) if kept == current => {}
        _ => {
            let kinds = (SchemaKind::from(kept), SchemaKind::from(current));
            let is_alike = kinds.0 == kinds.1 && is_scalar(kinds.0);
            if !is_alike {
                found.push(format!("{path} is {:?}, was {:?}", kinds.1, kinds.0));
            }
        }
    }
}

const fn is_scalar(kind: SchemaKind) -> bool {
    !matches!(
        kind,
        SchemaKind::Record
            | SchemaKind::Union
            | SchemaKind::Array
            | SchemaKind::Enum
            | SchemaKind::Fixed
            | SchemaKind::Map
            | SchemaKind::Ref
    )
}

fn compare_records<'a>(
    path: &str,
    kept: &'a RecordSchema,
    current: &'a RecordSchema,
    names: &(Names<'a>, Names<'a>),
    depth: usize,
    found: &mut Vec<String>,
) {
    let inner = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    if depth > 0 && kept.name.name != current.name.name {
        found.push(format!(
            "{path} is a {}, was a {}",
            current.name.name, kept.name.name
        ));
    }
    let by_name = |record: &'a RecordSchema, name: &str| {
        record.lookup.get(name).map(|&index| &record.fields[index])
    };
    for field in &kept.fields {
        let path = inner(&field.name);
        match by_name(current, &field.name) {
            None if field.default.is_none() => found.push(format!(
                "{path} was removed and has no default: older readers cannot read it"
            )),
            None => {}
            Some(now) => {
                if field.default != now.default {
                    found.push(format!("the default of {path} has changed"));
                }
                compare(&path, (&field.schema, &now.schema), names, depth + 1, found);
            }
        }
    }
    for field in &current.fields {
        if by_name(kept, &field.name).is_none() && field.default.is_none() {
            found.push(format!(
                "{} was added without a default: older records are not readable",
                inner(&field.name)
            ));
        }
    }
}
