//! How far a view is, and what it has put aside.

use cartwright_events::Stream;
use cartwright_read_model::postgres::{load_positions, parked_among, parked_records, parked_under};
use cartwright_read_model::{MOST_PARKED, ParkedSeq, Store};

use super::Stores;
use crate::errors::StoreError;
use crate::freshness::{Look, PositionSource};
use crate::pointers::View;

impl PositionSource for Stores {
    async fn look(&self, view: View) -> Result<Look, StoreError> {
        let (projection, version) = (view.projection, view.version);
        match projection.store {
            Store::Cassandra => {
                let views = self.by_key.views()?;
                let look = async {
                    let positions = views.positions(projection, version).await?;
                    let parked = views.parked_records(projection, version, MOST_PARKED);
                    Ok((positions, parked.await?))
                };
                // Not among the reads that are limited: this is what tells them how things stand.
                self.by_key.run_unlimited(look).await
            }
            Store::Postgres => {
                let lease = self.relational.lease_unlimited().await?;
                let look = async {
                    let client = lease.client();
                    let positions = load_positions(client, projection, version).await?;
                    let parked = parked_records(client, projection, version, MOST_PARKED);
                    Ok((positions, parked.await?))
                };
                lease.run(look).await
            }
        }
    }

    async fn parked_among(
        &self,
        view: View,
        places: Vec<ParkedSeq>,
    ) -> Result<Vec<ParkedSeq>, StoreError> {
        let (projection, version) = (view.projection, view.version);
        match projection.store {
            Store::Cassandra => {
                let views = self.by_key.views()?;
                let look = async {
                    let mut parked = Vec::new();
                    for place in places {
                        if views.is_parked(projection, version, place).await? {
                            parked.push(place);
                        }
                    }
                    Ok(parked)
                };
                self.by_key.run(look).await
            }
            Store::Postgres => {
                let lease = self.relational.lease().await?;
                let look = parked_among(lease.client(), projection, version, &places);
                lease.run(look).await
            }
        }
    }

    async fn parked_under(
        &self,
        view: View,
        keys: &[String],
        partitions: &[(Stream, u32)],
    ) -> Result<u64, StoreError> {
        let (projection, version) = (view.projection, view.version);
        match projection.store {
            Store::Cassandra => {
                let views = self.by_key.views()?;
                let look = async {
                    let mut count = 0;
                    for key in keys {
                        let under = views.parked_under(projection, version, key, partitions);
                        count += under.await?;
                    }
                    Ok(count)
                };
                self.by_key.run(look).await
            }
            Store::Postgres => {
                // Unlimited: whoever asks may hold a lease already.
                let lease = self.relational.lease_unlimited().await?;
                let look = parked_under(lease.client(), projection, version, keys);
                lease.run(look).await
            }
        }
    }
}
