"""The forms that people fill in."""

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm
from django.core.validators import MaxLengthValidator
from django.utils.text import slugify

from chat.models import Room

LONGEST_NAME = 30  # characters: it stands over each message


class LoginForm(AuthenticationForm):
    """Name and password."""

    error_messages = {**AuthenticationForm.error_messages, "invalid_login": "This name and password do not match."}

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "Name"


class SignUpForm(UserCreationForm):
    """A new account: a name that others see, and a password."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        name = self.fields["username"]
        name.label = "Name"
        name.help_text = f"What others see, at most {LONGEST_NAME} characters: letters, digits and @ . + - _"
        name.validators.append(MaxLengthValidator(LONGEST_NAME))
        name.widget.attrs["maxlength"] = LONGEST_NAME
        self.fields["password1"].help_text = "At least 8 characters, and not one that everybody uses."
        self.fields["password2"].label = "Password again"
        self.fields["password2"].help_text = ""


class RoomForm(forms.ModelForm):
    """A new room. Its address is made from its name."""

    class Meta:
        model = Room
        fields = ["name", "topic"]
        widgets = {
            "name": forms.TextInput(attrs={"placeholder": "Reading circle", "autocomplete": "off"}),
            "topic": forms.TextInput(attrs={"placeholder": "What it is about", "autocomplete": "off"}),
        }
        help_texts = {"topic": "Optional"}
        error_messages = {"name": {"unique": "There is a room of this name already."}}

    def clean_name(self) -> str:
        """Refuse a name that has no address, or the address of another room."""
        name = " ".join(self.cleaned_data["name"].split())
        self.instance.slug = slugify(name, allow_unicode=True)
        if not self.instance.slug:
            raise forms.ValidationError("A name needs a letter or a digit.")
        if Room.objects.filter(slug=self.instance.slug).exists():
            raise forms.ValidationError("There is a room of this name already.")
        return name
