//! Making the database itself.

use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::connect::PostgresOptions;
use crate::error::ReadModelError;

/// The database that every server has.
const MAINTENANCE: &str = "postgres";

/// Makes the database of `options` where the server has none of that name. Answers whether it did.
///
/// # Errors
/// What the server said; also when this user may not make databases.
pub async fn make_database(options: &PostgresOptions) -> Result<bool, ReadModelError> {
    let mut config: tokio_postgres::Config = options.url.parse()?;
    config.connect_timeout(options.connect_timeout);
    let missing = match config.connect(NoTls).await {
        Ok(_) => return Ok(false),
        Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => error,
        Err(error) => return Err(error.into()),
    };
    // Without a name the server takes the user's.
    let name = config.get_dbname().or(config.get_user()).map(str::to_owned);
    let Some(name) = name else {
        return Err(missing.into());
    };
    let (client, connection) = config.dbname(MAINTENANCE).connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let quoted = name.replace('"', "\"\"");
    let made = client
        .batch_execute(&format!("CREATE DATABASE \"{quoted}\""))
        .await;
    connection.abort();
    match made {
        Ok(()) => Ok(true),
        // Somebody else has just done it.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
