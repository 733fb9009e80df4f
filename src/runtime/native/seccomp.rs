//! System calls that a dyno may not make. At least as strict as the default of common container engines.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Administration of the host, other processes' memory and keys, name spaces, and doors with a bad record.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fanotify_init,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_nfsservctl,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Old doors that only this kind of machine has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] =
    &[libc::SYS__sysctl, libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_sysfs, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// Execution domains that a program may choose: the usual one, and without address space randomisation or with old
/// memory layout, as debuggers and old programs do; and the question for the present one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// On kernels that have it, the x32 interface offers every call again under its number plus this.
const X32: libc::c_long = 0x4000_0000;

const DENIED_CLONE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The kinds of socket that apps use. Others have doors that a network name space does not close (AF_VSOCK leads to the
/// hypervisor) or a bad record (AF_ALG).
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminal requests that type for somebody else.
const DENIED_IOCTLS: &[u64] = &[libc::TIOCSTI, libc::TIOCLINUX];

/// The two filters, in the order in which they are to be installed.
pub fn filters() -> Result<[BpfProgram; 2], String> {
    let text = |e: seccompiler::BackendError| e.to_string();
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(text)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
    let clone: Result<Vec<_>, _> = DENIED_CLONE_FLAGS
        .iter()
        .map(|flag| {
            let flag = u64::from(flag.cast_unsigned());
            let set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
            SeccompRule::new(vec![set])
        })
        .collect();
    rules.insert(libc::SYS_clone, clone.map_err(text)?);
    let ioctl: Result<Vec<_>, _> = DENIED_IOCTLS
        .iter()
        .map(|request| {
            let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *request)?;
            SeccompRule::new(vec![is])
        })
        .collect();
    rules.insert(libc::SYS_ioctl, ioctl.map_err(text)?);
    let other_family: Result<Vec<_>, _> = FAMILIES
        .iter()
        .map(|family| {
            let family = u64::from(family.cast_unsigned());
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
        })
        .collect();
    let other_family = SeccompRule::new(other_family.map_err(text)?).map_err(text)?;
    rules.insert(libc::SYS_socket, vec![other_family.clone()]);
    rules.insert(libc::SYS_socketpair, vec![other_family]);
    let other_personality: Result<Vec<_>, _> = PERSONALITIES
        .iter()
        .map(|allowed| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *allowed))
        .collect();
    let other_personality = SeccompRule::new(other_personality.map_err(text)?).map_err(text)?;
    rules.insert(libc::SYS_personality, vec![other_personality]);
    if cfg!(target_arch = "x86_64") {
        let again: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(again);
        // These have numbers of their own there.
        rules.extend((512..=547).map(|call: i64| (call | X32, Vec::new())));
    }
    let refuse = |errno: libc::c_int| SeccompAction::Errno(errno.cast_unsigned());
    let denied = SeccompFilter::new(rules, SeccompAction::Allow, refuse(libc::EPERM), arch).map_err(text)?;
    // The flags of clone3 are behind a pointer, which no filter can read: pretend that it does not exist, so that the
    // C library falls back to clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new()), (libc::SYS_clone3 | X32, Vec::new())]);
    let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, refuse(libc::ENOSYS), arch).map_err(text)?;
    Ok([clone3.try_into().map_err(text)?, denied.try_into().map_err(text)?])
}
