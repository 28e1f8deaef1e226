//! What each function answers.

/// Each function: what it answers for a file or a folder that fits it, for a descriptor that nobody has, and what more can be
/// wrong. The descriptor 3 is the folder /data, 4 its file `file` of 5 bytes, 5 the folder `sub` in it.
pub(super) const EACH: &[(&str, &str)] = &[
    (
        "fd_advise",
        "fd_advise 4 0 5 2 = 0
         fd_advise 4 0 5 6 = 28
         fd_advise 5 0 5 0 = 31
         fd_advise 99 0 5 0 = 8",
    ),
    (
        "fd_allocate",
        "fd_allocate 4 0 10 = 58
         fd_allocate 99 0 10 = 8",
    ),
    (
        "fd_close",
        "fd_close 4 = 0
         fd_close 4 = 8
         fd_close 99 = 8",
    ),
    ("fd_datasync", "fd_datasync 4 = 0\n fd_datasync 99 = 8"),
    (
        "fd_fdstat_get",
        "fd_fdstat_get 4 @0 = 0
         u8 @0 4
         fd_fdstat_get 3 @0 = 0
         u8 @0 3
         fd_fdstat_get 1 @0 = 0
         fd_fdstat_get 4 -8 = 21
         fd_fdstat_get 99 @0 = 8",
    ),
    (
        "fd_fdstat_set_flags",
        "fd_fdstat_set_flags 4 1 = 0
         fd_fdstat_get 4 @0 = 0
         u8 @2 1
         fd_pwrite 4 [@100 2] 0 @0 = 0
         fd_filestat_get 4 @0 = 0
         u64 @32 7
         fd_fdstat_set_flags 4 256 = 28
         fd_fdstat_set_flags 99 1 = 8",
    ),
    (
        "fd_fdstat_set_rights",
        "fd_fdstat_set_rights 4 2 0 = 0
         fd_read 4 [@0 1] @8 = 0
         fd_write 4 [@0 1] @8 = 8
         fd_tell 4 @0 = 76
         fd_fdstat_set_rights 4 66 0 = 76
         fd_fdstat_set_rights 3 8192 2 = 0
         path_open 3 0 'file' 0 2 0 0 @0 = 0
         path_open 3 0 'file' 0 64 0 0 @0 = 76
         path_create_directory 3 'x' = 76
         fd_fdstat_set_rights 99 0 0 = 8",
    ),
    (
        "fd_filestat_get",
        "fd_filestat_get 4 @0 = 0
         u8 @16 4
         u64 @24 1
         u64 @32 5
         fd_filestat_get 3 @0 = 0
         u8 @16 3
         fd_filestat_get 4 -8 = 21
         fd_filestat_get 99 @0 = 8",
    ),
    (
        "fd_filestat_set_size",
        "fd_filestat_set_size 4 2 = 0
         fd_filestat_set_size 4 9 = 0
         fd_read 4 [@0 100] @200 = 0
         u32 @200 9
         text @0 'he'
         u32 @2 0
         fd_filestat_set_size 4 -1 = 22
         fd_filestat_set_size 5 1 = 31
         fd_filestat_set_size 99 1 = 8",
    ),
    (
        "fd_filestat_set_times",
        "fd_filestat_set_times 4 0 777 4 = 0
         fd_filestat_get 4 @0 = 0
         u64 @48 777
         fd_filestat_set_times 4 0 0 12 = 28
         fd_filestat_set_times 5 0 0 8 = 0
         fd_filestat_set_times 99 0 0 4 = 8",
    ),
    (
        "fd_pread",
        "fd_pread 4 [@0 100] 3 @200 = 0
         u32 @200 2
         text @0 'lo'
         fd_tell 4 @0 = 0
         u64 @0 0
         fd_pread 4 [@0 1] -1 @200 = 0
         u32 @200 0
         fd_pread 3 [@0 1] 0 @200 = 31
         fd_pread 99 [@0 1] 0 @200 = 8",
    ),
    (
        "fd_prestat_get",
        "fd_prestat_get 3 @0 = 0
         u32 @0 0
         u32 @4 5
         fd_prestat_get 4 @0 = 8
         fd_prestat_get 5 @0 = 8
         fd_prestat_get 99 @0 = 8",
    ),
    (
        "fd_prestat_dir_name",
        "fd_prestat_dir_name 3 @0 5 = 0
         text @0 '/data'
         fd_prestat_dir_name 3 @0 4 = 37
         fd_prestat_dir_name 3 -3 5 = 21
         fd_prestat_dir_name 5 @0 5 = 8
         fd_prestat_dir_name 99 @0 5 = 8",
    ),
    (
        "fd_pwrite",
        "fd_pread 4 [@100 2] 0 @0 = 0
         fd_pwrite 4 [@100 2] 3 @0 = 0
         u32 @0 2
         fd_pread 4 [@0 100] 0 @200 = 0
         text @0 'helhe'
         fd_pwrite 4 [@100 2] -1 @0 = 22
         fd_pwrite 4 [@100 2] 1048575 @0 = 22
         fd_pwrite 5 [@100 2] 0 @0 = 31
         fd_pwrite 99 [@100 2] 0 @0 = 8",
    ),
    (
        "fd_read",
        "fd_read 4 [@0 3] @200 = 0
         text @0 'hel'
         fd_read 4 [@0 100] @200 = 0
         u32 @200 2
         text @0 'lo'
         fd_read 4 [@0 100] @200 = 0
         u32 @200 0
         fd_read 4 [@0 100] -2 = 21
         fd_read 4 -8 1 @200 = 21
         fd_read 4 -8 0 @200 = 21
         fd_read 5 [@0 100] @200 = 31
         fd_read 99 [@0 100] @200 = 8",
    ),
    (
        "fd_readdir",
        "fd_readdir 3 @0 4096 0 @5000 = 0
         u64 @0 1
         u32 @16 1
         u8 @20 3
         text @24 '.'
         u64 @25 2
         text @49 '..'
         u64 @51 3
         u32 @67 4
         u8 @71 4
         text @75 'file'
         u64 @79 4
         u8 @99 3
         text @103 'sub'
         u32 @5000 106
         fd_readdir 3 @0 4096 3 @5000 = 0
         u32 @5000 27
         fd_readdir 3 @0 30 2 @5000 = 0
         u32 @5000 30
         fd_readdir 3 @0 4096 -1 @5000 = 0
         u32 @5000 0
         fd_readdir 3 -8 4096 0 @5000 = 21
         fd_readdir 4 @0 4096 0 @5000 = 54
         fd_readdir 99 @0 4096 0 @5000 = 8",
    ),
    (
        "fd_renumber",
        "path_open 3 0 'file' 0 ALL 0 @0 = 0
         u32 @0 6
         fd_renumber 6 5 = 0
         fd_tell 6 @0 = 8
         fd_tell 5 @0 = 0
         fd_renumber 5 1 = 0
         fd_write 1 [@100 1] @0 = 0
         fd_filestat_get 1 @0 = 0
         u64 @32 5
         fd_close 1 = 0
         fd_renumber 4 4 = 0
         fd_renumber 4 99 = 8
         fd_renumber 0 4 = 8
         fd_renumber 99 4 = 8
         fd_renumber 98 99 = 8",
    ),
    (
        "fd_seek",
        "fd_seek 4 2 0 @0 = 0
         fd_seek 4 -1 1 @0 = 0
         u64 @0 1
         fd_seek 4 -2 2 @0 = 0
         u64 @0 3
         fd_seek 4 100 2 @0 = 0
         fd_seek 4 -4 0 @0 = 28
         fd_seek 4 0 3 @0 = 28
         fd_tell 4 @0 = 0
         u64 @0 105
         fd_read 4 [@0 100] @200 = 0
         u32 @200 0
         fd_seek 3 0 0 @0 = 8
         fd_seek 99 0 0 @0 = 8",
    ),
    ("fd_sync", "fd_sync 4 = 0\n fd_sync 3 = 0\n fd_sync 99 = 8"),
    ("fd_tell", "fd_tell 4 @0 = 0\n u64 @0 0\n fd_tell 4 -1 = 21\n fd_tell 3 @0 = 8\n fd_tell 99 @0 = 8"),
    (
        "fd_write",
        "fd_pread 4 [@100 2] 0 @0 = 0
         fd_seek 4 4 0 @0 = 0
         fd_write 4 [@100 2] @0 = 0
         u32 @0 2
         fd_tell 4 @0 = 0
         u64 @0 6
         fd_pread 4 [@0 100] 0 @200 = 0
         text @0 'hellhe'
         fd_write 4 [@100 0] @0 = 0
         fd_write 4 -8 1 @0 = 21
         fd_write 4 [@100 2] -1 = 21
         fd_write 3 [@100 2] @0 = 31
         fd_write 99 [@100 2] @0 = 8",
    ),
    (
        "path_create_directory",
        "path_create_directory 3 'new' = 0
         path_create_directory 3 'new' = 20
         path_create_directory 3 'new/in/' = 0
         path_create_directory 3 'none/in' = 44
         path_create_directory 3 'file/in' = 54
         path_create_directory 3 '../out' = 63
         path_create_directory 4 'new' = 54
         path_create_directory 99 'new' = 8",
    ),
    (
        "path_filestat_get",
        "path_filestat_get 3 0 'file' @0 = 0
         u8 @16 4
         u64 @32 5
         path_filestat_get 3 1 'sub/../sub/.' @0 = 0
         u8 @16 3
         path_filestat_get 3 0 'file/' @0 = 54
         path_filestat_get 3 0 'file/x' @0 = 54
         path_filestat_get 3 0 'none' @0 = 44
         path_filestat_get 3 0 '' @0 = 44
         path_filestat_get 3 0 '/data/file' @0 = 63
         path_filestat_get 5 0 '../file' @0 = 63
         path_filestat_get 3 0 -8 16 @0 = 21
         path_filestat_get 3 0 0 5000 @0 = 37
         path_filestat_get 4 0 'x' @0 = 54
         path_filestat_get 99 0 'file' @0 = 8",
    ),
    (
        "path_filestat_set_times",
        "path_filestat_set_times 3 0 'file' 0 777 4 = 0
         path_filestat_get 3 0 'file' @0 = 0
         u64 @48 777
         path_filestat_set_times 3 0 'none' 0 777 4 = 44
         path_filestat_set_times 3 0 'file' 0 777 3 = 28
         path_filestat_set_times 99 0 'file' 0 777 4 = 8",
    ),
    (
        "path_link",
        "path_link 3 0 'file' 3 'other' = 58
         path_link 99 0 'file' 3 'other' = 8
         path_link 3 0 'file' 99 'other' = 8",
    ),
    (
        "path_open",
        "path_open 3 0 'file' 0 2 0 0 @0 = 0
         u32 @0 6
         fd_write 6 [@100 1] @0 = 8
         path_open 3 0 'file' 8 ALL 0 @0 = 0
         u32 @0 7
         fd_filestat_get 7 @0 = 0
         u64 @32 0
         path_open 3 0 'new' 0 2 0 0 @0 = 44
         path_open 3 0 'new' 5 64 0 1 @0 = 0
         fd_read 8 [@100 1] @0 = 8
         path_open 3 0 'new' 5 64 0 1 @0 = 20
         path_open 3 0 'new' 1 64 0 1 @0 = 0
         path_open 3 0 'sub' 0 2 0 0 @0 = 0
         path_open 3 0 'sub' 0 66 0 0 @0 = 31
         path_open 3 0 'sub' 2 ALL 0 @0 = 0
         path_open 3 0 'file' 2 2 0 0 @0 = 54
         path_open 3 0 'file/' 0 2 0 0 @0 = 54
         path_open 3 0 'other/' 1 66 0 0 @0 = 31
         path_open 3 0 'none/other' 1 66 0 0 @0 = 44
         path_open 3 0 'new' 3 66 0 0 @0 = 28
         path_open 3 0 'new' 16 66 0 0 @0 = 28
         path_open 3 0 'new' 0 66 0 32 @0 = 28
         path_open 3 0 '..' 0 2 0 0 @0 = 63
         path_open 3 0 '/etc/passwd' 0 2 0 0 @0 = 63
         path_open 3 0 'file' 0 2 0 0 -2 = 21
         path_open 4 0 'file' 0 2 0 0 @0 = 54
         path_open 99 0 'file' 0 2 0 0 @0 = 8",
    ),
    (
        "path_readlink",
        "path_readlink 3 'file' @0 10 @100 = 28
         path_readlink 3 'none' @0 10 @100 = 44
         path_readlink 99 'file' @0 10 @100 = 8",
    ),
    (
        "path_remove_directory",
        "path_create_directory 3 'sub/in' = 0
         path_unlink_file 5 'gone' = 0
         path_remove_directory 3 'sub' = 55
         path_remove_directory 5 'in' = 0
         path_remove_directory 3 'sub/' = 0
         path_remove_directory 3 'sub' = 44
         path_remove_directory 3 'file' = 54
         path_remove_directory 3 '.' = 10
         path_remove_directory 99 'sub' = 8",
    ),
    (
        "path_rename",
        "path_rename 3 'file' 5 'moved' = 0
         fd_read 4 [@0 100] @200 = 0
         text @0 'hello'
         path_filestat_get 3 0 'sub/moved' @0 = 0
         path_rename 3 'file' 3 'other' = 44
         path_rename 3 'sub' 5 'in' = 28
         path_rename 5 'moved' 3 'sub' = 31
         path_rename 5 'moved' 3 'x/' = 54
         path_rename 3 'sub' 3 'renamed/' = 0
         path_rename 3 'renamed' 99 'x' = 8
         path_rename 99 'renamed' 3 'x' = 8",
    ),
    (
        "path_symlink",
        "path_symlink '/etc/passwd' 3 'link' = 58
         path_symlink 'file' 99 'link' = 8",
    ),
    (
        "path_unlink_file",
        "path_unlink_file 3 'sub' = 31
         path_unlink_file 3 'file/' = 54
         path_unlink_file 3 'file' = 0
         path_unlink_file 3 'file' = 44
         fd_read 4 [@0 100] @200 = 0
         text @0 'hello'
         path_unlink_file 99 'file' = 8",
    ),
    (
        "poll_oneoff",
        // To read the file, and to write to standard output.
        "bytes @1000 07000000000000000100000000000000040000000000000000000000
         bytes @1048 09000000000000000200000000000000010000000000000000000000
         poll_oneoff @1000 @2000 0 @0 = 28
         poll_oneoff @1000 @2000 2 -1 = 21
         poll_oneoff @1000 -1 2 @0 = 21
         poll_oneoff @1048 @2000 1 @0 = 0
         u32 @0 1
         poll_oneoff @1000 @2000 2 @0 = 0
         u32 @0 1
         u64 @2000 7
         u8 @2010 1
         u64 @2016 5",
    ),
];
