//! The name under which a queued command's outcome can be asked for.

use std::fmt;
use std::str::FromStr;

use cartwright_events::Context;
use cartwright_shard::nodes::ShardId;
use uuid::Uuid;

/// Which command, and which shard decides it: `context-partition-offset-uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusId {
    /// Who decides it.
    pub shard: ShardId,
    /// Where it stands in the shard's inbox.
    pub offset: u64,
    /// The command.
    pub command_id: Uuid,
}

impl fmt::Display for StatusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (context, partition) = (self.shard.context.name(), self.shard.partition);
        write!(
            f,
            "{context}-{partition}-{}-{}",
            self.offset, self.command_id
        )
    }
}

impl FromStr for StatusId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '-');
        let mut next = || parts.next().ok_or(());
        let name = next()?;
        let context = Context::ALL.into_iter().find(|one| one.name() == name);
        let partition = next()?.parse().map_err(drop)?;
        let offset = next()?.parse().map_err(drop)?;
        let command_id = Uuid::parse_str(next()?).map_err(drop)?;
        Ok(Self {
            shard: ShardId {
                context: context.ok_or(())?,
                partition,
            },
            offset,
            command_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_command() {
        let id = StatusId {
            shard: ShardId {
                context: Context::Checkout,
                partition: 7,
            },
            offset: 4711,
            command_id: Uuid::now_v7(),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "checkout",
            "checkout-1-2",
            "cart-1-2-x",
            "checkout-x-2-3",
        ] {
            assert_eq!(text.parse::<StatusId>(), Err(()), "{text}");
        }
    }
}
