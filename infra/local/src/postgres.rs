//! PostgreSQL: its data folder, and the user it runs as.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use tokio::process::Command;

use crate::config::StackConfig;
use crate::download::Library;
use crate::error::{Result, StackError, at, remove};
use crate::launch::{run, words};
use crate::part::Part;
use crate::process::Launch;

/// Makes the data folder before the first start and says how to start the server.
pub async fn prepare(config: &StackConfig, library: &Library) -> Result<Launch> {
    let data = config.data_dir(Part::Postgres);
    let user = DatabaseUser::choose(&[&config.state_dir, &config.cache_dir])?;
    if !data.join("PG_VERSION").exists() {
        // Made beside its place and moved there whole: an interrupted initdb leaves nothing that looks finished.
        let fresh = data.with_extension("new");
        if fresh.exists() {
            at(&fresh, fs::remove_dir_all(&fresh))?;
        }
        at(&fresh, fs::create_dir_all(&fresh))?;
        at(
            &fresh,
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700)),
        )?;
        user.own(&fresh)?;
        let initdb = library.postgres_program("initdb").display().to_string();
        let arguments = "-U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync";
        let mut command = user.command(initdb);
        command.extend(words(arguments));
        command.extend(["-D".to_owned(), fresh.display().to_string()]);
        let mut initdb = Command::new(&command[0]);
        initdb.args(&command[1..]).current_dir(&fresh);
        run("initdb for postgres", initdb).await?;
        at(&data, fs::rename(&fresh, &data))?;
    }
    // No process of this folder is left by now, but PostgreSQL takes even an unreaped one for a living server.
    remove(&data.join("postmaster.pid"))?;
    let mut command = user.command(library.postgres_program("postgres").display().to_string());
    let settings = config.config_dir().join("postgresql.conf");
    command.extend(["-D".to_owned(), data.display().to_string()]);
    command.extend([
        "-c".to_owned(),
        format!("config_file={}", settings.display()),
    ]);
    Ok(Launch {
        command,
        env: Vec::new(),
        cwd: data,
    })
}

/// Who PostgreSQL runs as: it refuses root.
enum DatabaseUser {
    /// Whoever runs this.
    Own,
    /// A system user without rights of its own.
    System {
        uid: u32,
        gid: u32,
        may_pass_closed_folders: bool,
    },
}

impl DatabaseUser {
    fn choose(folders: &[&Path]) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let passwd = at(Path::new("/etc/passwd"), fs::read_to_string("/etc/passwd"))?;
        let (uid, gid) = user_ids(&passwd, "nobody").ok_or_else(|| StackError::Missing {
            what: "the system user `nobody`, as whom PostgreSQL runs when this runs as root,"
                .to_owned(),
            remedy: "make it with: useradd --system nobody, or run as another user than root"
                .to_owned(),
        })?;
        let closed = folders
            .iter()
            .any(|folder| folder.ancestors().any(is_closed_to_others));
        Ok(Self::System {
            uid,
            gid,
            may_pass_closed_folders: closed,
        })
    }

    fn own(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::System { uid, gid, .. } => at(folder, chown(folder, Some(*uid), Some(*gid))),
        }
    }

    fn command(&self, program: String) -> Vec<String> {
        let Self::System {
            uid,
            gid,
            may_pass_closed_folders,
        } = self
        else {
            return vec![program];
        };
        let mut command = vec![
            "setpriv".to_owned(),
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ];
        if *may_pass_closed_folders {
            // A checkout below a closed folder, such as root's home: the one right to reach it stays.
            command.extend(words(
                "--inh-caps=+dac_override --ambient-caps=+dac_override",
            ));
        }
        command.push(program);
        command
    }
}

fn is_closed_to_others(folder: &Path) -> bool {
    const ENTER_AND_READ: u32 = 0o005;
    fs::metadata(folder).is_ok_and(|meta| meta.mode() & ENTER_AND_READ != ENTER_AND_READ)
}

fn user_ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let ids = || Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?));
        (fields[0] == name).then(ids).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_ids_come_from_its_own_line() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n";
        assert_eq!(user_ids(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(user_ids(passwd, "body"), None);
    }

    #[test]
    fn below_a_closed_folder_the_database_keeps_the_right_to_reach_its_files() {
        let user = DatabaseUser::System {
            uid: 7,
            gid: 8,
            may_pass_closed_folders: true,
        };
        let command = user.command("postgres".to_owned()).join(" ");
        assert!(
            command.starts_with("setpriv --reuid=7 --regid=8 --clear-groups"),
            "{command}"
        );
        assert!(
            command.contains("--ambient-caps=+dac_override"),
            "{command}"
        );
        assert_eq!(
            DatabaseUser::Own.command("postgres".to_owned()),
            ["postgres"]
        );
    }
}
