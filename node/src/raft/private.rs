//! Directories that nobody else may look into: the log and the state hold the keys of tokens.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

/// Makes `dir` for this user alone. One that exists stays as its owner made it.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes `dir` for this user alone, also if it exists: earlier versions left that to the umask.
pub(super) fn close_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    if fs::metadata(dir)?.permissions().mode() & 0o077 != 0
        && let Err(error) = fs::set_permissions(dir, Permissions::from_mode(0o700))
    {
        tracing::warn!(path = %dir.display(), "other users may read this directory, which holds secrets: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_ours_is_closed_and_what_is_the_operators_stays() {
        let top = tempfile::tempdir().unwrap();
        let (made, given) = (top.path().join("a/b"), top.path().join("given"));
        make_dir(&made).unwrap();
        assert_eq!((mode(&made), mode(&top.path().join("a"))), (0o700, 0o700));
        DirBuilder::new().create(&given).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o750)).unwrap();
        make_dir(&given).unwrap();
        assert_eq!(mode(&given), 0o750);
        close_dir(&given).unwrap();
        assert_eq!(mode(&given), 0o700);
        close_dir(&given.join("c")).unwrap();
        assert_eq!(mode(&given.join("c")), 0o700);
    }
}
