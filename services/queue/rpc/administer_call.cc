#include "services/queue/rpc/administer_call.h"

#include <algorithm>
#include <utility>

namespace postfleet::queue {

std::vector<AdministerCall::Part> AdministerCall::PartsByActivity() const {
  bool active_wanted = request_->queues().empty();
  Part active;
  Part rest;
  for (const int queue : request_->queues()) {
    if (queue == v1::QUEUE_NAME_ACTIVE) {
      active_wanted = true;
      active.queues = {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED};
    } else {
      rest.queues.push_back(static_cast<v1::QueueName>(queue));
    }
  }
  // What is active is not parked. If it is parked while a requeue waits for it, that is the later
  // word.
  if (IsRequeue()) active.queues = {v1::QUEUE_NAME_INCOMING, v1::QUEUE_NAME_DEFERRED};
  const bool rest_wanted = request_->queues().empty() || !rest.queues.empty();
  for (const std::string& queue_id : request_->queue_ids()) {
    const bool is_active = world_.dispatcher->IsActive(queue_id);
    if (is_active ? !active_wanted : !rest_wanted) continue;
    (is_active ? active : rest).queue_ids.push_back(queue_id);
  }
  std::vector<Part> parts;
  if (!rest.queue_ids.empty()) parts.push_back(std::move(rest));
  if (!active.queue_ids.empty()) parts.push_back(std::move(active));
  // In one command, as long as it makes no difference.
  if (!IsRequeue() && parts.size() == 2 && request_->queues().empty()) {
    parts[0].queue_ids.assign(request_->queue_ids().begin(), request_->queue_ids().end());
    parts.pop_back();
  }
  return parts;
}

void AdministerCall::Begin() {
  std::vector<Part> parts = PartsByActivity();
  if (parts.empty()) return done_(grpc::Status::OK);
  parts_left_ = parts.size();
  for (Part& part : parts) Run(std::move(part));
}

void AdministerCall::Run(Part part) {
  if (!IsRequeue()) return Propose(part, part.queue_ids);
  world_.withholding->Begin(part.queue_ids, kRequeueWaitMax,
                            [self = shared_from_this(), part](const Withholding::StillOut& out) {
                              self->Propose(part, Withholding::LeaveOut(part.queue_ids, out));
                            });
}

void AdministerCall::Propose(const Part& part, const std::vector<std::string>& queue_ids) {
  Proposal proposal;
  state::Administer& command = *proposal.command.mutable_administer();
  command.set_action(request_->action());
  for (const std::string& queue_id : queue_ids) command.add_queue_ids(queue_id);
  for (v1::QueueName queue : part.queues) command.add_queues(queue);
  proposal.done = [self = shared_from_this(), part](const absl::StatusOr<const Effects*>& effects) {
    self->OnApplied(part, effects);
  };
  if (world_.pipeline->Propose(std::move(proposal), /*must=*/true)) return;
  status_ = {grpc::StatusCode::UNAVAILABLE, "the queue is stopping"};
  EndPart(part);
}

void AdministerCall::OnApplied(const Part& part, const absl::StatusOr<const Effects*>& effects) {
  if (!effects.ok()) {
    status_ = {absl::IsUnavailable(effects.status()) ? grpc::StatusCode::UNAVAILABLE
                                                     : grpc::StatusCode::UNKNOWN,
               std::string(effects.status().message())};
    return EndPart(part);
  }
  if (!(*effects)->refused.empty()) {
    status_ = {grpc::StatusCode::FAILED_PRECONDITION, (*effects)->refused};
    return EndPart(part);
  }
  const std::vector<std::string>& changed = (*effects)->changed;
  const std::vector<std::string>& new_ids = (*effects)->new_queue_ids;
  for (size_t i = 0; i < changed.size(); ++i) {
    changed_[changed[i]] = i < new_ids.size() ? new_ids[i] : std::string();
  }
  if ((*effects)->left.empty()) return EndPart(part);
  Propose(part, (*effects)->left);  // they have very many recipients
}

void AdministerCall::EndPart(const Part& part) {
  if (IsRequeue()) world_.withholding->End(part.queue_ids);
  if (--parts_left_ > 0) return;
  for (const std::string& queue_id : request_->queue_ids()) {
    const auto found = changed_.find(queue_id);
    if (found == changed_.end()) continue;
    response_->add_changed(queue_id);
    if (IsRequeue()) response_->add_new_queue_ids(found->second);
    changed_.erase(found);  // a repeated id was changed once
  }
  if (response_->changed().empty() || status_.ok()) return done_(status_);
  response_->set_failure(status_.error_message());
  done_(grpc::Status::OK);
}

}  // namespace postfleet::queue
