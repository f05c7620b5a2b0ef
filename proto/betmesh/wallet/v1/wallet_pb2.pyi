from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetBalanceRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class GetBalanceResponse(_message.Message):
    __slots__ = ("user_id", "currency", "cash", "bonus", "held", "available")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    currency: str
    cash: int
    bonus: int
    held: int
    available: int
    def __init__(self, user_id: _Optional[str] = ..., currency: _Optional[str] = ..., cash: _Optional[int] = ..., bonus: _Optional[int] = ..., held: _Optional[int] = ..., available: _Optional[int] = ...) -> None: ...

class DeductBalanceRequest(_message.Message):
    __slots__ = ("transfer_id", "user_id", "amount", "currency", "kind", "reference")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    user_id: str
    amount: int
    currency: str
    kind: str
    reference: str
    def __init__(self, transfer_id: _Optional[str] = ..., user_id: _Optional[str] = ..., amount: _Optional[int] = ..., currency: _Optional[str] = ..., kind: _Optional[str] = ..., reference: _Optional[str] = ...) -> None: ...

class DeductBalanceResponse(_message.Message):
    __slots__ = ("transfer_id", "cash", "bonus", "held", "available")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cash: int
    bonus: int
    held: int
    available: int
    def __init__(self, transfer_id: _Optional[str] = ..., cash: _Optional[int] = ..., bonus: _Optional[int] = ..., held: _Optional[int] = ..., available: _Optional[int] = ...) -> None: ...

class CreditBalanceRequest(_message.Message):
    __slots__ = ("transfer_id", "user_id", "amount", "currency", "kind", "reference", "stake_transfer_id")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    STAKE_TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    user_id: str
    amount: int
    currency: str
    kind: str
    reference: str
    stake_transfer_id: str
    def __init__(self, transfer_id: _Optional[str] = ..., user_id: _Optional[str] = ..., amount: _Optional[int] = ..., currency: _Optional[str] = ..., kind: _Optional[str] = ..., reference: _Optional[str] = ..., stake_transfer_id: _Optional[str] = ...) -> None: ...

class CreditBalanceResponse(_message.Message):
    __slots__ = ("transfer_id", "cash", "bonus", "held", "available")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cash: int
    bonus: int
    held: int
    available: int
    def __init__(self, transfer_id: _Optional[str] = ..., cash: _Optional[int] = ..., bonus: _Optional[int] = ..., held: _Optional[int] = ..., available: _Optional[int] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("transfer_id", "original_transfer_id")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    original_transfer_id: str
    def __init__(self, transfer_id: _Optional[str] = ..., original_transfer_id: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("transfer_id", "cash", "bonus", "held", "available")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CASH_FIELD_NUMBER: _ClassVar[int]
    BONUS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cash: int
    bonus: int
    held: int
    available: int
    def __init__(self, transfer_id: _Optional[str] = ..., cash: _Optional[int] = ..., bonus: _Optional[int] = ..., held: _Optional[int] = ..., available: _Optional[int] = ...) -> None: ...
