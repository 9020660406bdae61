#include "services/delivery/privileged/action_policy.h"

namespace postfleet::delivery::privileged {
namespace {

constexpr char kNotRoot[] = "this is not done with the rights of root";

bool HasZeroByte(const ActionRequest& request) {
  for (const std::string* text : {&request.path, &request.base, &request.chroot}) {
    if (text->find('\0') != std::string::npos) return true;
  }
  return false;
}

// The last part of the path, if the part before it is `folder`.
std::string NameBelow(const std::string& folder, const std::string& path) {
  if (folder.empty() || !path.starts_with(folder + "/")) return "";
  const std::string name = path.substr(folder.size() + 1);
  return name.find('/') == std::string::npos && name != "." && name != ".." ? name : "";
}

}  // namespace

bool ActionPolicy::IsInSpool(const std::string& path) const {
  return !NameBelow(mail_spool, path).empty();
}

std::string ActionPolicy::Refusal(const ActionRequest& request, bool* as_root) const {
  *as_root = false;
  if (HasZeroByte(request)) return "a path with a zero byte";
  if (request.kind != ActionKind::kMaildir && request.kind != ActionKind::kCommand &&
      !request.path.starts_with('/')) {
    return "the path is not absolute";
  }
  if (request.kind == ActionKind::kCommand && request.argv.empty()) return "an empty command";
  if (request.uid == uid_t(-1) || request.gid == gid_t(-1)) return "no such user id";
  if (own_uid != 0) {
    if (request.uid == own_uid) return "";
    return "the delivery helper was not started as root: it can act as uid " +
           std::to_string(own_uid) + " only, not as uid " + std::to_string(request.uid);
  }
  if (request.uid != 0 && request.gid != 0) return "";
  *as_root = true;
  if (request.uid != 0) return kNotRoot;
  if (request.kind == ActionKind::kMbox && IsInSpool(request.path)) return "";
  if (request.kind == ActionKind::kReadFile &&
      NameBelow(root_home, request.path).starts_with(".forward")) {
    return "";
  }
  return kNotRoot;
}

}  // namespace postfleet::delivery::privileged
