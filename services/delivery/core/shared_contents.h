// One message's contents for the several deliveries that one recipient becomes, one after the
// other.
//
// Each reader that Open gives begins at the first piece; a reader that was opened before ends with
// Aborted. On the loop. Readers may outlive this.
#pragma once

#include <memory>

#include "services/delivery/core/agent.h"

namespace postfleet::delivery {

class SharedContents {
 public:
  explicit SharedContents(std::unique_ptr<ContentReader> contents);

  std::unique_ptr<ContentReader> Open();
  // The reader itself, from its first piece: nothing can be opened any more.
  std::unique_ptr<ContentReader> Release();

 private:
  struct Source;
  class Reader;

  std::shared_ptr<Source> source_;
};

}  // namespace postfleet::delivery
